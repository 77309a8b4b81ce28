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
use hako_model::{Error, Result};
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

fn live(actor: &Actor) -> Result<Live> {
    let not_running = || Error::conflict(format!("Container {} is not running", actor.record.id));
    actor.live.clone().ok_or_else(not_running)
}

/// In the owner.
pub(super) async fn run_pause(actor: &mut Actor) -> Result<()> {
    live(actor)?.pause().await?;
    actor.happen(Event::Frozen).await?;
    health::attend(actor);
    actor.emit("pause", &[]);
    Ok(())
}

/// In the owner.
pub(super) async fn run_unpause(actor: &mut Actor) -> Result<()> {
    live(actor)?.resume().await?;
    actor.happen(Event::Thawed).await?;
    health::attend(actor);
    actor.emit("unpause", &[]);
    Ok(())
}
