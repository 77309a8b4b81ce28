//! `POST /containers/{id}/stop`.

use super::{
    Container,
    actor::Request as Ask,
    kill::{patience, stop_signal},
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_api::signal;
use hako_model::{Error, ErrorKind, Result};
use std::{sync::Arc, time::Duration};

const DEFAULT_SECONDS: i64 = 10;

/// Stops a container; 304 if it does not run.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let (seconds, signal) = options(req)?;
    let view = container.view();
    let state = &view.record.state;
    if !(state.is_running() || state.is_starting()) {
        return Err(Error::new(ErrorKind::NotModified, "container is not running"));
    }
    let stopped = stop(engine, container, seconds, signal).await;
    stopped.map_err(|err| err.context(format!("cannot stop container: {}", req.param)))?;
    Ok(no_content())
}

/// `t` and `signal`, where they are given.
pub(super) fn options(req: &Request) -> Result<(Option<i64>, Option<i32>)> {
    let number = |text: &str| text.parse().map_err(|_| Error::invalid(format!("invalid value for \"t\": {text}")));
    let seconds = Some(req.query.get("t")).filter(|t| !t.is_empty()).map(number).transpose()?;
    let signal = Some(req.query.get("signal")).filter(|s| !s.is_empty()).map(signal::parse).transpose()?;
    Ok((seconds, signal))
}

/// Signals, waits, kills. Goes on if the client goes.
pub(super) async fn stop(
    engine: &Arc<Engine>,
    container: Arc<Container>,
    seconds: Option<i64>,
    signal: Option<i32>,
) -> Result<()> {
    let engine = engine.clone();
    let work = tokio::spawn(async move {
        let view = container.view();
        let config = &view.record.config;
        let signal = signal.unwrap_or_else(|| stop_signal(&config.stop_signal));
        let seconds = seconds.or(config.stop_timeout).unwrap_or(DEFAULT_SECONDS);
        let result = escalate(&container, signal, u64::try_from(seconds).ok()).await;
        if result.is_ok() {
            super::actor::emit(&engine, &view.record, "stop", &[]);
        }
        result
    });
    work.await.map_err(|err| Error::internal(err.to_string()))?
}

/// `seconds` of `None` is for ever. A start that is under way counts in.
async fn escalate(container: &Container, signal: i32, seconds: Option<u64>) -> Result<()> {
    let ends = container.view().ends.count();
    let politely = async {
        let sent = container.ask(|reply| Ask::Kill { signal, reply }).await;
        match sent {
            Err(err) if matches!(err.kind, ErrorKind::Conflict | ErrorKind::NotFound) => return,
            Err(err) => tracing::warn!("signal {signal} to container {}: {err}", container.id),
            Ok(()) => {}
        }
        container.ended_within(ends, None).await;
    };
    match seconds {
        None => {
            politely.await;
            return Ok(());
        }
        Some(seconds) => {
            if tokio::time::timeout(Duration::from_secs(seconds), politely).await.is_ok() {
                return Ok(());
            }
        }
    }
    match container.ask(|reply| Ask::Kill { signal: libc::SIGKILL, reply }).await {
        Err(err) if matches!(err.kind, ErrorKind::Conflict | ErrorKind::NotFound) => return Ok(()),
        other => other?,
    }
    if container.ended_within(ends, Some(patience(container.view().record.isolation))).await {
        return Ok(());
    }
    Err(Error::internal("tried to kill container, but did not receive an exit event"))
}
