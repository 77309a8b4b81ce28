//! `POST /containers/{id}/pause` and `/unpause`.

use super::{
    actor::{Actor, Request as Ask},
    health,
    life::Event,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
    shim::Live,
};
use hako_model::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Freezes a container.
pub async fn pause(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    engine.containers.find(&req.param)?.ask(Ask::Pause).await?;
    Ok(no_content())
}

/// Thaws a container.
pub async fn unpause(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    engine.containers.find(&req.param)?.ask(Ask::Unpause).await?;
    Ok(no_content())
}

fn not_running(actor: &Actor) -> Error {
    Error::conflict(format!("Container {} is not running", actor.record.id))
}

fn live(actor: &Actor) -> Result<Live> {
    actor.live.clone().ok_or_else(|| not_running(actor))
}

/// A run that has ended a moment ago is not to be frozen nor thawed; the owner
/// hears of its end next.
fn unless_ended(actor: &Actor, done: Result<()>) -> Result<()> {
    done.map_err(|err| match err.kind {
        ErrorKind::NotFound | ErrorKind::Conflict => not_running(actor),
        _ => err.context(format!("cannot pause or unpause container {}", actor.record.id)),
    })
}

/// In the owner.
pub(super) async fn run_pause(actor: &mut Actor) -> Result<()> {
    let done = live(actor)?.pause().await;
    unless_ended(actor, done)?;
    actor.happen(Event::Frozen).await?;
    health::attend(actor);
    actor.emit("pause", &[]);
    Ok(())
}

/// In the owner.
pub(super) async fn run_unpause(actor: &mut Actor) -> Result<()> {
    let done = live(actor)?.resume().await;
    unless_ended(actor, done)?;
    actor.happen(Event::Thawed).await?;
    health::attend(actor);
    actor.emit("unpause", &[]);
    Ok(())
}
