//! `POST /containers/{id}/start`.

use super::{
    actor::{Actor, Request as Ask},
    attach, files,
    record::{Ended, Failure, Run, State},
    recover, remove,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
    shim::{Live, ShimDir},
    spec,
};
use hako_api::time;
use hako_model::{Error, ErrorKind, ExitDetails, Result};
use std::sync::Arc;

/// Starts a container; 304 if it runs.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    container.ask(Ask::Start).await?;
    Ok(no_content())
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor) -> Result<()> {
    let before = match &actor.record.state {
        State::Created { .. } => None,
        State::Exited(ended) => Some(ended.clone()),
        State::Running(_) => return Err(Error::new(ErrorKind::NotModified, "container is running")),
        State::Paused(_) => return Err(Error::conflict("cannot start a paused container, try unpause instead")),
        State::Starting { .. } => return Err(Error::conflict("container is being started")),
        State::Removing => return Err(Error::conflict("container is marked for removal and cannot be started")),
    };
    files::give_way(actor).await;
    actor.set_state(State::Starting { before: before.clone() }).await?;
    match launch(actor).await {
        Ok(()) => {
            actor.emit("start", &[]);
            Ok(())
        }
        Err(err) => {
            // Whoever waited for the start hears that there is nothing to hear.
            actor.pending.clear();
            failed(actor, before, err).await
        }
    }
}

/// From a record to a running process; on an error nothing is left.
async fn launch(actor: &mut Actor) -> Result<()> {
    let engine = actor.engine.clone();
    let id = actor.record.id.as_str().to_owned();
    let dir = ShimDir::new(engine.shim_dir(&id));
    let rootfs = match spec::prepare(&engine, &actor.record, &dir).await {
        Ok(rootfs) => rootfs,
        Err(err) => {
            dir.remove()?;
            return Err(err);
        }
    };
    let child = match crate::programs::present(&engine.programs.shim).and_then(|path| crate::shim::spawn(path, &dir)) {
        Ok(child) => child,
        Err(err) => {
            dir.remove()?;
            return Err(err);
        }
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    reap(child);
    let started = match Live::connect(&id, dir.clone()) {
        Ok(live) => begin(actor, &live, rootfs).await.map(|pid| (live, pid)),
        Err(err) => Err(err),
    };
    match started {
        Ok((live, pid)) => {
            actor.live = Some(live.clone());
            let run = Run { pid, started_at: time::now() };
            if let Err(err) = actor.set_state(State::Running(run)).await {
                actor.live = None;
                recover::end_sandbox(&engine, &actor.record, Some(live), None).await;
                return Err(err);
            }
            actor.watch_run(live);
            Ok(())
        }
        Err(err) => {
            let words = dir.last_words();
            recover::end_sandbox(&engine, &actor.record, Live::connect(&id, dir).ok(), pid).await;
            Err(explain(err, &words))
        }
    }
}

async fn begin(actor: &mut Actor, live: &Live, rootfs: Vec<spec::RootMount>) -> Result<i64> {
    live.create(actor.record.config.tty, rootfs).await.map_err(|err| runtime_words(&err))?;
    for pending in std::mem::take(&mut actor.pending) {
        attach::connect(live, pending).await?;
    }
    live.start("").await
}

/// Collects the shim's exit status, whenever it comes.
pub(super) fn reap(mut child: tokio::process::Child) {
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            tracing::debug!("shim ended: {status}");
        }
    });
}

/// Docker's long form of what the runtime said.
fn runtime_words(err: &Error) -> Error {
    if err.kind == ErrorKind::Unavailable {
        return err.clone();
    }
    Error::new(
        err.kind,
        format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: \
             hako-runtime create failed: {}",
            err.message
        ),
    )
}

/// A shim that died on the way gets its last words into the error. One that
/// lives and lacks something has said itself what.
pub(super) fn explain(err: Error, words: &str) -> Error {
    if err.kind == ErrorKind::Unavailable && !words.trim().is_empty() {
        return Error::internal(format!("the shim ended too early: {words}"));
    }
    err
}

/// The exit code and the HTTP kind of a start that failed, as moby finds them in the text.
pub fn classify(message: &str) -> (i32, ErrorKind) {
    let has = |text: &str| message.contains(text);
    if has("executable file not found") || has("no such file or directory") || has("system cannot find the file") {
        (127, ErrorKind::InvalidParameter)
    } else if has("permission denied") || has("is a directory") {
        (126, ErrorKind::InvalidParameter)
    } else {
        (128, ErrorKind::Internal)
    }
}

async fn failed(actor: &mut Actor, before: Option<Ended>, err: Error) -> Result<()> {
    let (exit_code, kind) = classify(&err.message);
    let kind = if err.kind == ErrorKind::Internal { kind } else { err.kind };
    let state = match before {
        None => State::Created { failure: Some(Failure { exit_code, error: err.message.clone() }) },
        Some(ended) => {
            let exit =
                ExitDetails { exit_code, exited_at: time::now(), oom_killed: false, error: Some(err.message.clone()) };
            State::Exited(Ended { started_at: ended.started_at, exit })
        }
    };
    actor.set_state(state).await?;
    if actor.record.host.auto_remove {
        remove::finish(actor).await?;
    }
    Err(Error::new(kind, err.message))
}
