//! A container has ended: its ports at once, so that the next can have them when
//! its end is known; its interfaces and its namespace after its last process.

use super::{
    Phase, emit,
    plumbing::{Plumbing, netns_path},
    record::Endpoint,
    stored,
};
use crate::Engine;
use hako_net::{Netns, attach};

/// Gives the host's ports back, and lets its name lead nowhere.
pub async fn leave_ports(engine: &Engine, container: &str) {
    match engine.networks.state().sandboxes.get_mut(container) {
        Some(held) => held.phase = Phase::Leaving,
        None => return,
    }
    drop_ports(engine, container).await;
}

/// Gives the host's ports back. The rules go first: after them somebody else
/// may have the same.
pub(super) async fn drop_ports(engine: &Engine, container: &str) {
    let reserved = engine.networks.state().sandboxes.get_mut(container).and_then(|held| held.reserved.take());
    let (Some(reserved), Ok(plumbing)) = (reserved, engine.networks.plumbing()) else { return };
    let published = reserved.published().to_vec();
    if !published.is_empty()
        && let Err(err) = plumbing.firewall.unpublish(&published).await
    {
        tracing::warn!("ports of container {container}: {err}");
    }
}

/// Takes down what a container has; nothing where it has nothing. Goes on past
/// errors and logs them: what cannot be taken down keeps its row.
pub async fn leave(engine: &Engine, container: &str) {
    leave_if(engine, container, |_| true).await;
}

/// The same, if it stands so that `test` is true, at the moment when nobody
/// else takes it down.
pub(super) async fn leave_if(engine: &Engine, container: &str, test: impl Fn(Phase) -> bool) {
    let _one = engine.store.lock(&format!("sandbox {container}")).await;
    let phase = engine.networks.state().sandboxes.get(container).map(|held| held.phase);
    if !phase.is_some_and(test) {
        return;
    }
    leave_ports(engine, container).await;
    let ends = engine.networks.state().sandboxes.get(container).map(|held| held.sandbox.endpoints.clone());
    let ends = ends.unwrap_or_default();
    let Ok(plumbing) = engine.networks.plumbing() else { return };
    let gone = unplug(plumbing, container, &ends).await & remove_namespace(engine, container).await;
    if !gone {
        return;
    }
    let row = container.to_owned();
    if let Err(err) = stored(engine, move |store| store.delete_sandbox(&row)).await {
        return tracing::warn!("networks of container {container}: {err}");
    }
    engine.networks.state().sandboxes.remove(container);
    engine.networks.left.notify_waiters();
    for end in ends {
        if let Some(network) = engine.networks.exactly(&end.network) {
            emit(engine, &network, "disconnect", Some(container));
        }
    }
}

/// Removes interfaces; whether all of them are gone.
pub(super) async fn unplug(plumbing: &Plumbing, container: &str, ends: &[Endpoint]) -> bool {
    let all = futures::future::join_all(ends.iter().map(|end| unplug_one(plumbing, container, end))).await;
    all.into_iter().all(|done| done)
}

async fn unplug_one(plumbing: &Plumbing, container: &str, end: &Endpoint) -> bool {
    let done = attach::detach(&plumbing.host, &end.interface.host_name).await;
    if let Err(err) = &done {
        tracing::warn!("network {} of container {container}: {err}", end.name);
    }
    done.is_ok()
}

async fn remove_namespace(engine: &Engine, container: &str) -> bool {
    let done = Netns::remove(&netns_path(engine, container)).await;
    if let Err(err) = &done {
        tracing::warn!("network namespace of container {container}: {err}");
    }
    done.is_ok()
}
