//! `POST /containers/{id}/kill`.

use super::{
    actor::{Actor, Request as Ask},
    record::State,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_api::signal;
use hako_model::{Error, Result};
use std::{sync::Arc, time::Duration};

/// Sends a signal; after SIGKILL the answer waits for the end.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let text = req.query.get("signal");
    let signal = if text.is_empty() { libc::SIGKILL } else { signal::parse(text)? };
    container.ask(|reply| Ask::Kill { signal, reply }).await.map_err(|err| match err.kind {
        hako_model::ErrorKind::Conflict => err.context(format!("cannot kill container: {}", req.param)),
        _ => err,
    })?;
    if signal == libc::SIGKILL {
        container.stopped_within(Some(Duration::from_secs(10))).await;
    }
    Ok(no_content())
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, signal: i32) -> Result<()> {
    let not_running = || Error::conflict(format!("container {} is not running", actor.record.id));
    let paused = match &actor.record.state {
        State::Running(_) => None,
        State::Paused(run) => Some(run.clone()),
        State::Created { .. } | State::Starting { .. } | State::Exited(_) | State::Removing => {
            return Err(not_running());
        }
    };
    let live = actor.live.clone().ok_or_else(not_running)?;
    let deadly = signal == libc::SIGKILL || signal == stop_signal(&actor.record.config.stop_signal);
    match live.kill("", signal, false).await {
        // It has just ended; the owner hears of it next.
        Err(err) if err.kind == hako_model::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    actor.emit("kill", &[("signal", signal.to_string())]);
    if let Some(run) = paused.filter(|_| deadly) {
        // A frozen process takes a signal once it is thawed.
        live.resume().await?;
        actor.set_state(State::Running(run)).await?;
    }
    Ok(())
}

/// The signal of `stop`.
pub(super) fn stop_signal(configured: &str) -> i32 {
    signal::parse(configured).unwrap_or(libc::SIGTERM)
}
