//! `POST /containers/{id}/kill`.

use super::{
    actor::{Actor, Request as Ask},
    life::{Event, Todo},
    policy,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_api::{signal, types::ContainerConfig};
use hako_model::{Error, ErrorKind, Isolation, Result};
use std::{sync::Arc, time::Duration};

/// How long the end may take after a SIGKILL. A machine whose guest does not obey
/// is killed after 20 seconds.
pub(super) fn patience(isolation: Isolation) -> Duration {
    Duration::from_secs(match isolation {
        Isolation::Process => 10,
        Isolation::Hyperv => 25,
    })
}

/// Sends a signal; after SIGKILL the answer waits for the end.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let text = req.query.get("signal");
    let context = |err: Error| err.context(format!("cannot kill container: {}", req.param));
    let signal = if text.is_empty() { libc::SIGKILL } else { signal::parse(text).map_err(context)? };
    let container = engine.containers.find(&req.param).map_err(context)?;
    let (ends, isolation) = (container.view().ends.count(), container.view().record.isolation);
    container.ask(|reply| Ask::Kill { signal, reply }).await.map_err(context)?;
    if signal == libc::SIGKILL && !container.ended_within(ends, Some(patience(isolation))).await {
        return Err(context(Error::internal("tried to kill container, but did not receive an exit event")));
    }
    Ok(no_content())
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, signal: i32, todo: Todo) -> Result<()> {
    if ends(&actor.record.config, signal) {
        actor.cancelled = true;
    }
    remember_stop(actor).await?;
    match todo {
        Todo::Now | Todo::AndThaw => send(actor, signal, todo == Todo::AndThaw).await,
        Todo::CancelRestart => cancel_restart(actor).await,
        Todo::Nothing => Ok(()),
        Todo::AfterStart | Todo::AtStart | Todo::KillFirst => {
            Err(Error::internal(format!("a signal cannot be sent so: {todo:?}")))
        }
    }
}

async fn send(actor: &mut Actor, signal: i32, thaw: bool) -> Result<()> {
    let not_running = || Error::conflict(format!("container {} is not running", actor.record.id));
    let live = actor.live.clone().ok_or_else(not_running)?;
    match live.kill("", signal, false).await {
        // It has just ended; the owner hears of it next.
        Err(err) if err.kind == ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    actor.emit("kill", &[("signal", signal.to_string())]);
    if thaw {
        // A frozen process takes a signal once it is thawed; it may be dead by then.
        match live.resume().await {
            Err(err) if matches!(err.kind, ErrorKind::Conflict | ErrorKind::NotFound) => return Ok(()),
            other => other?,
        }
        actor.happen(Event::Thawed).await?;
    }
    Ok(())
}

/// Somebody wants it to stop, which `unless-stopped` remembers.
async fn remember_stop(actor: &mut Actor) -> Result<()> {
    if actor.record.restarts.manually_stopped {
        return Ok(());
    }
    actor.record.restarts.manually_stopped = true;
    // Without a policy the next change of state writes it down early enough.
    if policy::is_none(&actor.record.host.restart_policy) { Ok(()) } else { actor.save().await }
}

/// Gives up the restart that is waited for.
pub(super) async fn cancel_restart(actor: &mut Actor) -> Result<()> {
    actor.happen(Event::RestartCancelled).await?;
    // The wait goes on and is not heard.
    actor.run += 1;
    Ok(())
}

/// Whether a signal is meant to end the container for good. As in Docker, every
/// signal is, where the container has no stop signal of its own.
pub(super) fn ends(config: &ContainerConfig, signal: i32) -> bool {
    signal == libc::SIGKILL || config.stop_signal.is_empty() || stop_signal(&config.stop_signal) == signal
}

/// The signal of `stop`.
pub(super) fn stop_signal(configured: &str) -> i32 {
    signal::parse(configured).unwrap_or(libc::SIGTERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_signals_end_for_good() {
        let config =
            |stop_signal: &str| ContainerConfig { stop_signal: stop_signal.into(), ..ContainerConfig::default() };
        assert!(ends(&config(""), libc::SIGHUP) && ends(&config(""), libc::SIGKILL));
        assert!(!ends(&config("SIGUSR1"), libc::SIGTERM));
        assert!(ends(&config("SIGUSR1"), libc::SIGUSR1) && ends(&config("SIGUSR1"), libc::SIGKILL));
    }
}
