//! `DELETE /containers/{id}`.

use super::{
    Container,
    actor::{Actor, Request as Ask},
    end, files, kill,
    life::{self, Event, Todo},
    network,
    record::{Record, State},
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
    volumes,
};
use hako_model::{Error, ErrorKind, Result};
use std::{io, sync::Arc};

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

/// Removes a container that does not run: first durably marked, so that a
/// removal that is cut off is finished at the next start. What cannot be
/// removed stays as a dead container, which can be removed later.
pub(super) async fn finish(actor: &mut Actor) -> Result<()> {
    if matches!(actor.record.state, State::Exited(_)) && actor.record.host.auto_remove {
        // What the store says already means as much after a restart.
        actor.record.state = life::next(actor.record.state.clone(), Event::RemovalBegun);
        actor.publish();
    } else {
        actor.happen(Event::RemovalBegun).await?;
    }
    let engine = actor.engine.clone();
    let id = actor.record.id.to_string();
    if let Err(err) = remove_all(&engine, &actor.record).await {
        let err = err.context(format!("unable to remove filesystem for {id}"));
        end::must(actor, Event::RemovalFailed(err.message.clone())).await;
        return Err(err);
    }
    engine.containers.forget(&id, &actor.record.name);
    engine.execs.container_removed(&id);
    if let Ok(image) = actor.record.image_id.parse()
        && let Err(err) = engine.images.container_removed(&image).await
    {
        tracing::warn!("image of container {id}: {err}");
    }
    actor.emit("destroy", &[]);
    actor.gone();
    Ok(())
}

/// The folder, then volumes that go with the container, and then the record:
/// as long as that is there, the next start of the engine goes on with the rest.
async fn remove_all(engine: &Engine, record: &Record) -> Result<()> {
    let id = record.id.as_str();
    let (dir, store, row) = (engine.container_dir(id), engine.store.clone(), id.to_owned());
    let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(Error::internal(format!("remove {}: {err}", dir.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    });
    removed.await.unwrap_or_else(|err| Err(Error::internal(err.to_string())))?;
    if record.remove_volumes || record.host.auto_remove {
        volumes::container_removed(engine, record).await;
    }
    let deleted = tokio::task::spawn_blocking(move || store.delete_container(&row));
    match deleted.await {
        Ok(deleted) => deleted.map(drop).map_err(|err| Error::internal(err.to_string())),
        Err(err) => Err(Error::internal(err.to_string())),
    }
}
