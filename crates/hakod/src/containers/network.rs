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

/// In the owner.
pub(super) async fn disconnect(actor: &mut Actor, name: &str) -> Result<()> {
    if !actor.record.networks.contains_key(name) {
        return Err(networks::disconnect::not_on(&actor.record, name));
    }
    if actor.record.state.run().is_some() {
        let network = actor.engine.networks.find(name)?;
        networks::disconnect::live(&actor.engine, &actor.record, actor.live.as_ref(), &network).await?;
    }
    let before = actor.record.networks.remove(name);
    if let Err(err) = actor.save().await {
        // It is out of it, and is on it again when it starts again.
        actor.record.networks.extend(before.map(|asked| (name.to_owned(), asked)));
        return Err(err);
    }
    Ok(())
}
