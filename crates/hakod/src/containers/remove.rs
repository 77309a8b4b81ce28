//! `DELETE /containers/{id}`.

use super::{
    Container,
    actor::{Actor, Request as Ask},
    end, files, kill,
    life::{Event, Todo},
    network,
    record::{Record, State},
    remains,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
    shim::Live,
    volumes,
};
use hako_model::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Removes a container, or a link alone.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    if req.query.flag("link") {
        network::ask_unlink(engine, &req.param).await?;
        return Ok(no_content());
    }
    let container = engine.containers.find(&req.param)?;
    let how = How { force: req.query.flag("force"), volumes: req.query.flag("v") };
    remove(&container, &req.param, how).await?;
    Ok(no_content())
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Even if it runs.
    pub(super) force: bool,
    /// With its anonymous volumes.
    pub(super) volumes: bool,
}

/// Removes `container`, which the client calls `name`.
///
/// # Errors
/// Docker's words where it may not be removed, or is being removed already.
pub(super) async fn remove(container: &Container, name: &str, how: How) -> Result<()> {
    let in_progress = || Error::conflict(format!("removal of container {name} is already in progress"));
    let view = container.view();
    if matches!(view.record.state, State::Removing { .. }) && !view.removed {
        return Err(in_progress());
    }
    let _removal = container.begin_removal().ok_or_else(in_progress)?;
    let How { force, volumes } = how;
    match container.ask(|reply| Ask::Remove { force, volumes, reply }).await {
        // Somebody else has removed it, which is what was wanted.
        Err(err) if err.kind == ErrorKind::NotFound && container.view().removed => Ok(()),
        other => other,
    }
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, todo: Todo, volumes: bool) -> Result<()> {
    match todo {
        Todo::Now => {}
        Todo::KillFirst => kill_first(actor).await?,
        Todo::CancelRestart => kill::cancel_restart(actor).await?,
        Todo::AfterStart | Todo::AtStart | Todo::AndThaw | Todo::Nothing => {
            return Err(Error::internal(format!("a container cannot be removed so: {todo:?}")));
        }
    }
    files::end(actor).await;
    actor.record.remove_volumes = volumes;
    finish(actor).await
}

/// Kills a running container and waits for its end.
async fn kill_first(actor: &mut Actor) -> Result<()> {
    let Some(live) = actor.live.clone() else { return Ok(()) };
    actor.emit("kill", &[("signal", "9".to_owned())]);
    // It may have ended by itself meanwhile; the wait below says.
    let killed = live.kill("", libc::SIGKILL, true).await;
    if matches!(actor.record.state, State::Paused(_)) {
        // A frozen process dies once it is thawed.
        let _ = live.resume().await;
    }
    match tokio::time::timeout(kill::patience(actor.record.isolation), live.wait("")).await {
        Ok(exit) => {
            // Removal follows in any case; it must not happen twice.
            (actor.keep, actor.cancelled) = (true, true);
            end::ended(actor, exit).await;
            Ok(())
        }
        Err(_) => {
            let why = killed.err().map(|err| format!(": {err}")).unwrap_or_default();
            let name = &actor.record.name;
            Err(Error::internal(format!("cannot remove container \"/{name}\": could not kill: it does not end{why}")))
        }
    }
}

/// Removes a container that does not run. First it is marked, so that a removal
/// that is cut off is finished at the next start. What cannot be removed stays
/// as a dead container, which can be removed later.
pub(super) async fn finish(actor: &mut Actor) -> Result<()> {
    finish_with(actor, None).await
}

/// [`finish`], of one whose `sandbox` has not been ended: that goes later.
pub(super) async fn finish_with(actor: &mut Actor, sandbox: Option<Live>) -> Result<()> {
    // What the store says already means as much after a restart.
    let goes_anyway = matches!(actor.record.state, State::Exited(_)) && actor.record.host.auto_remove;
    if goes_anyway {
        actor.take(Event::RemovalBegun);
    } else {
        actor.happen_soon(Event::RemovalBegun).await?;
    }
    let engine = actor.engine.clone();
    let id = actor.record.id.to_string();
    if let Err(err) = remove_all(&engine, &actor.record, goes_anyway).await {
        let err = err.context(format!("unable to remove filesystem for {id}"));
        end::must(actor, Event::RemovalFailed(err.message.clone())).await;
        if sandbox.is_some() {
            end::end_sandbox(&engine, &actor.record, sandbox, None).await;
        }
        return Err(err);
    }
    engine.containers.forget(&id, &actor.record.name);
    engine.execs.container_removed(&id);
    if sandbox.is_none() {
        remains::release_image(&engine, &actor.record).await;
    }
    actor.emit("destroy", &[]);
    actor.gone();
    remains::remove(&engine, actor.record.clone(), sandbox);
    Ok(())
}

/// Volumes that go with the container, and then the record: as long as that is
/// there, the next start of the engine goes on with the rest. One that would go
/// then in any case need not have gone durably.
async fn remove_all(engine: &Engine, record: &Record, goes_anyway: bool) -> Result<()> {
    let id = record.id.as_str();
    remains::removable(&engine.container_dir(id))?;
    if record.remove_volumes || record.host.auto_remove {
        volumes::container_removed(engine, record).await;
    }
    let (store, row) = (engine.store.clone(), id.to_owned());
    let delete = move || if goes_anyway { store.delete_container_soon(&row) } else { store.delete_container(&row) };
    match tokio::task::spawn_blocking(delete).await {
        Ok(deleted) => deleted.map(drop).map_err(|err| Error::internal(err.to_string())),
        Err(err) => Err(Error::internal(err.to_string())),
    }
}
