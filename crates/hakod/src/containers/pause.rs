//! `POST /containers/{id}/pause` and `/unpause`.

use super::{
    actor::{Actor, Request as Ask},
    health,
    life::Event,
    record::State,
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
    freeze(actor).await?;
    actor.emit("pause", &[]);
    Ok(())
}

/// Writes down that it is frozen; nothing probes it then.
async fn freeze(actor: &mut Actor) -> Result<()> {
    health::close(actor);
    let frozen = actor.happen(Event::Frozen).await;
    // Where that failed it counts as running, and is probed.
    health::attend(actor);
    frozen
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

/// In the owner: freezes a running container for a commit. Others see it
/// paused; the store does not, so that an engine that dies thaws it at its return.
pub(super) async fn run_hold(actor: &mut Actor) -> Result<bool> {
    match &actor.record.state {
        State::Running(_) => {}
        State::Paused(_) if actor.held > 0 => {
            actor.held += 1;
            return Ok(true);
        }
        State::Created { .. }
        | State::Starting { .. }
        | State::Paused(_)
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => return Ok(false),
    }
    let done = live(actor)?.pause().await;
    unless_ended(actor, done)?;
    actor.held = 1;
    freeze(actor).await?;
    actor.emit("pause", &[]);
    Ok(true)
}

/// In the owner: thaws it with the last commit that held it, unless somebody
/// else has changed its state meanwhile.
pub(super) async fn run_let_go(actor: &mut Actor) -> Result<()> {
    match actor.held {
        0 => return Ok(()),
        1 => {}
        _ => {
            actor.held -= 1;
            return Ok(());
        }
    }
    run_unpause(actor).await
}
