//! A container's networks change: what it asks for is in its record, what it
//! has in its sandbox, which only a container that runs has.

use super::{
    Container,
    actor::{Actor, Request as Ask},
};
use crate::networks::{
    self,
    record::{Asked, Network},
};
use hako_model::Result;
use std::sync::Arc;

/// Connects `container` to a network.
///
/// # Errors
/// See [`networks::connect`].
pub async fn ask_connect(container: &Container, network: Arc<Network>, asked: Asked) -> Result<()> {
    container.ask(|reply| Ask::Connect { network, asked, reply }).await
}

/// Disconnects `container` from the network of this name.
///
/// # Errors
/// See [`networks::disconnect`].
pub async fn ask_disconnect(container: &Container, network: String) -> Result<()> {
    container.ask(|reply| Ask::Disconnect { network, reply }).await
}

/// In the owner. What was done is undone if it cannot be written down.
pub(super) async fn connect(actor: &mut Actor, network: Arc<Network>, asked: Asked) -> Result<()> {
    let runs = actor.record.state.run().is_some();
    networks::connect::check(&actor.engine, &actor.record, &network, runs)?;
    if runs {
        networks::connect::live(&actor.engine, &actor.record, actor.live.as_ref(), (&network, &asked)).await?;
    }
    let before = actor.record.networks.insert(network.name.clone(), asked);
    if let Err(err) = actor.save().await {
        if runs
            && let Err(err) =
                networks::disconnect::live(&actor.engine, &actor.record, actor.live.as_ref(), &network).await
        {
            tracing::warn!("network {} of container {}: {err}", network.name, actor.record.id);
        }
        match before {
            Some(before) => actor.record.networks.insert(network.name.clone(), before),
            None => actor.record.networks.remove(&network.name),
        };
        return Err(err);
    }
    Ok(())
}

/// In the owner. It is written down first: what an engine that is killed leaves
/// half done is then an interface that nobody asks for, as with a connect.
pub(super) async fn disconnect(actor: &mut Actor, name: &str) -> Result<()> {
    let Some(asked) = actor.record.networks.get(name).cloned() else {
        return Err(networks::disconnect::not_on(&actor.record, name));
    };
    let runs = actor.record.state.run().is_some();
    let network = if runs { Some(actor.engine.networks.find(name)?) } else { None };
    actor.record.networks.remove(name);
    let mut done = actor.save().await;
    let saved = done.is_ok();
    if let (Ok(()), Some(network)) = (&done, network) {
        done = networks::disconnect::live(&actor.engine, &actor.record, actor.live.as_ref(), &network).await;
    }
    if done.is_err() {
        actor.record.networks.insert(name.to_owned(), asked);
        if saved && let Err(err) = actor.save().await {
            tracing::warn!("network {name} of container {}: {err}", actor.record.id);
        }
    }
    done
}
