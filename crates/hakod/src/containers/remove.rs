//! `DELETE /containers/{id}`.

use super::{
    actor::{Actor, Request as Ask},
    files,
    record::State,
    recover,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_model::{Error, Result};
use std::{io, sync::Arc, time::Duration};

/// How long a killed container may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    if req.query.flag("link") {
        return Err(hako_api::unsupported::REMOVE_LINK.error());
    }
    let container = engine.containers.find(&req.param)?;
    let force = req.query.flag("force");
    container.ask(|reply| Ask::Remove { force, reply }).await?;
    Ok(no_content())
}

/// In the owner.
pub(super) async fn run(actor: &mut Actor, force: bool) -> Result<()> {
    let name = format!("\"/{}\"", actor.record.name);
    match &actor.record.state {
        State::Created { .. } | State::Exited(_) => {}
        State::Starting { .. } => {
            return Err(Error::conflict(format!("cannot remove container {name}: container is starting")));
        }
        State::Running(_) if !force => {
            return Err(Error::conflict(format!(
                "cannot remove container {name}: container is running: stop the container before removing or force remove"
            )));
        }
        State::Paused(_) if !force => {
            return Err(Error::conflict(format!(
                "cannot remove container {name}: container is paused and must be unpaused first"
            )));
        }
        State::Running(_) | State::Paused(_) => end(actor).await?,
        State::Removing => {
            return Err(Error::conflict(format!("removal of container {} is already in progress", actor.record.name)));
        }
    }
    files::end(actor).await;
    finish(actor).await
}

/// Kills a running container and waits for its end.
async fn end(actor: &mut Actor) -> Result<()> {
    let Some(live) = actor.live.clone() else { return Ok(()) };
    actor.emit("kill", &[("signal", "9".to_owned())]);
    // It may have ended by itself meanwhile; the wait below says.
    let killed = live.kill("", libc::SIGKILL, true).await;
    if matches!(actor.record.state, State::Paused(_)) {
        // A frozen process dies once it is thawed.
        let _ = live.resume().await;
    }
    match tokio::time::timeout(PATIENCE, live.wait("")).await {
        Ok(exit) => {
            // Removal follows in any case; it must not happen twice.
            actor.keep = true;
            recover::ended(actor, exit).await;
            Ok(())
        }
        Err(_) => {
            let why = killed.err().map(|err| format!(": {err}")).unwrap_or_default();
            Err(Error::internal(format!("could not kill container {}{why}", actor.record.id)))
        }
    }
}

/// Removes a container that does not run: first durably marked, so that a
/// removal that is cut off is finished at the next start.
pub(super) async fn finish(actor: &mut Actor) -> Result<()> {
    let before = actor.record.state.clone();
    if matches!(before, State::Exited(_)) && actor.record.host.auto_remove {
        // What the store says already means as much after a restart.
        actor.record.state = State::Removing;
        actor.publish();
    } else {
        actor.set_state(State::Removing).await?;
    }
    let engine = actor.engine.clone();
    let id = actor.record.id.to_string();
    let dir = engine.container_dir(&id);
    let (store, row) = (engine.store.clone(), id.clone());
    let removed = tokio::task::spawn_blocking(move || -> Result<()> {
        match std::fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                return Err(Error::internal(format!("remove {}: {err}", dir.display())));
            }
            Ok(()) | Err(_) => {}
        }
        store.delete_container(&row).map_err(|err| Error::internal(err.to_string()))?;
        Ok(())
    });
    let removed = removed.await.unwrap_or_else(|err| Err(Error::internal(err.to_string())));
    if let Err(err) = removed {
        actor.set_state(before).await?;
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
    actor.record.state = before;
    actor.gone();
    Ok(())
}
