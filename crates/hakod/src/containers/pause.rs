//! `POST /containers/{id}/pause` and `/unpause`.

use super::{
    actor::{Actor, Request as Ask},
    record::State,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
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

fn not_running(actor: &Actor) -> Error {
    Error::conflict(format!("Container {} is not running", actor.record.id))
}

/// In the owner.
pub(super) async fn run_pause(actor: &mut Actor) -> Result<()> {
    let run = match &actor.record.state {
        State::Running(run) => run.clone(),
        State::Paused(_) => return Err(Error::conflict(format!("Container {} is already paused", actor.record.id))),
        State::Created { .. } | State::Starting { .. } | State::Exited(_) | State::Removing => {
            return Err(not_running(actor));
        }
    };
    let live = actor.live.clone().ok_or_else(|| not_running(actor))?;
    live.pause().await?;
    actor.set_state(State::Paused(run)).await?;
    actor.emit("pause", &[]);
    Ok(())
}

/// In the owner.
pub(super) async fn run_unpause(actor: &mut Actor) -> Result<()> {
    let run = match &actor.record.state {
        State::Paused(run) => run.clone(),
        State::Running(_) => return Err(Error::conflict(format!("Container {} is not paused", actor.record.id))),
        State::Created { .. } | State::Starting { .. } | State::Exited(_) | State::Removing => {
            return Err(not_running(actor));
        }
    };
    let live = actor.live.clone().ok_or_else(|| not_running(actor))?;
    live.resume().await?;
    actor.set_state(State::Running(run)).await?;
    actor.emit("unpause", &[]);
    Ok(())
}

/// In the owner: freezes a running container for a commit. Others see it
/// paused; the store does not, so that an engine that dies thaws it at its return.
pub(super) async fn run_hold(actor: &mut Actor) -> Result<bool> {
    let run = match &actor.record.state {
        State::Running(run) => run.clone(),
        State::Created { .. } | State::Starting { .. } | State::Paused(_) | State::Exited(_) | State::Removing => {
            return Ok(false);
        }
    };
    let live = actor.live.clone().ok_or_else(|| not_running(actor))?;
    live.pause().await?;
    actor.held = true;
    actor.set_state(State::Paused(run)).await?;
    actor.emit("pause", &[]);
    Ok(true)
}

/// In the owner: thaws it, unless somebody else has changed its state meanwhile.
pub(super) async fn run_let_go(actor: &mut Actor) -> Result<()> {
    if !actor.held {
        return Ok(());
    }
    run_unpause(actor).await
}
