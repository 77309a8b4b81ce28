//! A container's networks change: what it asks for is in its record, what it
//! has in its sandbox, which only a container that runs has.

use super::{
    Container,
    actor::{Actor, Request as Ask},
};
use crate::{
    Engine,
    networks::{
        self,
        record::{Asked, Network},
    },
};
use hako_model::{Error, Result};
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

/// `docker rm --link parent/alias`: the link goes, and both containers stay.
///
/// # Errors
/// There is no such link, or the name is a container's own.
pub async fn ask_unlink(engine: &Engine, name: &str) -> Result<()> {
    let name = name.trim_matches('/');
    let Some((parent, alias)) = name.rsplit_once('/') else {
        engine.containers.find(name)?;
        return Err(Error::conflict("Conflict, cannot remove the default link name of the container"));
    };
    let parent = engine.containers.find(parent).map_err(|_| no_link(name))?;
    let (alias, name) = (alias.to_owned(), name.to_owned());
    parent.ask(|reply| Ask::Unlink { alias, name, reply }).await
}

/// As of a container, which a link's name stands for.
fn no_link(name: &str) -> Error {
    Error::not_found(format!("No such container: {name}"))
}

/// In the owner.
pub(super) async fn unlink(actor: &mut Actor, alias: &str, name: &str) -> Result<()> {
    let before = actor.record.clone();
    actor.record.links.retain(|link| link.alias != alias);
    if actor.record.links.len() == before.links.len() {
        return Err(no_link(name));
    }
    if actor.record.links.is_empty() {
        // What inspect would otherwise show in their place.
        actor.record.host.links = None;
    }
    if let Err(err) = actor.save().await {
        actor.record = before;
        return Err(err);
    }
    if actor.record.state.run().is_some() {
        networks::unlinked(&actor.engine, &before, &actor.record, actor.live.as_ref()).await;
    }
    Ok(())
}
