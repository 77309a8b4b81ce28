//! The engine's own return: bridges, rules, names and ports of what runs come
//! back, and what belongs to nobody goes.

use super::{
    Held, Phase, defaults, disconnect, files, join, leave,
    plumbing::{Plumbing, netns_dir},
    ports, raise,
    record::{Bridge, Endpoint, Network, Sandbox},
    spot, stored, told,
};
use crate::{Engine, containers::record::Record};
use hako_model::Result;
use hako_net::{Netns, Reserved, firewall::PublishedPort};
use std::{collections::BTreeMap, sync::Arc};

/// Before the containers are found: everything is as the store has it.
///
/// # Errors
/// The store cannot be read, or the engine's own namespace.
pub async fn open(engine: &Arc<Engine>) -> Result<()> {
    let plumbing = Arc::new(Plumbing::open(engine).await.map_err(told)?);
    // Nobody else opens it.
    let _ = engine.networks.plumbing.set(plumbing.clone());
    let (networks, sandboxes) = stored(engine, |store| Ok((store.networks()?, store.sandboxes()?))).await?;
    {
        let mut state = engine.networks.state();
        for row in networks {
            match serde_json::from_str::<Network>(&row.json) {
                Ok(network) => drop(state.networks.insert(row.id, Arc::new(network))),
                Err(err) => tracing::error!("record of network {} is unreadable and left alone: {err}", row.name),
            }
        }
        for row in sandboxes {
            match serde_json::from_str::<Sandbox>(&row.json) {
                Ok(sandbox) => {
                    let held = Held { sandbox, reserved: None, phase: Phase::Found };
                    state.sandboxes.insert(row.container, held);
                }
                Err(err) => tracing::error!("networks of container {} are unreadable: {err}", row.container),
            }
        }
    }
    defaults::ensure(engine, &plumbing).await?;
    if let Err(err) = raise_all(engine, &plumbing).await {
        // Containers that need none of it run all the same.
        tracing::error!("networks: {err}");
    }
    Ok(())
}

/// Bridges that are to be there: of networks that somebody made, and the
/// default one where somebody is on it. Their rules are written at once.
async fn raise_all(engine: &Arc<Engine>, plumbing: &Arc<Plumbing>) -> Result<()> {
    let mut raised = engine.networks.raised.lock().await;
    let all = engine.networks.all();
    // A default bridge that is there was made by an engine that was killed: the
    // next that ends with nobody on it takes it away.
    let there = hako_net::bridge::list(&plumbing.host, "").await.map_err(told)?;
    let is_there = |network: &Network| network.bridge().is_some_and(|bridge| there.contains(&bridge.name));
    let needed =
        |network: &&Arc<Network>| !network.is_predefined() || engine.networks.is_used(&network.id) || is_there(network);
    let mut bridges: Vec<&Bridge> = Vec::new();
    for network in all.iter().filter(needed) {
        let Some(bridge) = network.bridge() else { continue };
        match raise::interface(plumbing, bridge).await {
            Ok(()) => {
                bridges.push(bridge);
                raised.insert(network.id.clone());
            }
            Err(err) => tracing::error!("network {}: {err}", network.name),
        }
    }
    if bridges.is_empty() {
        return Ok(());
    }
    let published = bind_all(engine, plumbing).await;
    let ipv6 = bridges.iter().any(|bridge| bridge.has_ipv6());
    let filtered = bridges.iter().map(|bridge| raise::filtered(bridge)).collect();
    raise::write(engine, plumbing, filtered, published, ipv6).await?;
    for bridge in bridges {
        if let Err(err) = raise::listen(plumbing, bridge).await {
            tracing::error!("names on {}: {err}", bridge.name);
        }
    }
    Ok(())
}

/// Takes the ports of everybody whom the store knows; who does not run any
/// more gives them back when that is found out.
async fn bind_all(engine: &Engine, plumbing: &Plumbing) -> Vec<PublishedPort> {
    let sandboxes: BTreeMap<String, Sandbox> = {
        let state = engine.networks.state();
        state.sandboxes.iter().map(|(id, held)| (id.clone(), held.sandbox.clone())).collect()
    };
    let mut published = Vec::new();
    for (id, sandbox) in sandboxes {
        let Some(leader) = spot::leader(&sandbox).filter(|_| !sandbox.ports.is_empty()) else { continue };
        match Reserved::bind(&plumbing.host, &ports::again(&sandbox.ports), &join::target(leader)).await {
            Ok(reserved) => {
                published.extend(reserved.published().to_vec());
                engine.networks.keep(&id, &sandbox, Some(reserved));
            }
            Err(err) => tracing::error!("ports of container {id}: {err}"),
        }
    }
    published
}

/// After the containers are found: those that run keep what they have, and
/// what is left of others goes.
pub async fn settle(engine: &Arc<Engine>) {
    let found: Vec<String> = {
        let state = engine.networks.state();
        state.sandboxes.iter().filter(|(_, held)| held.phase == Phase::Found).map(|(id, _)| id.clone()).collect()
    };
    for id in found {
        let view = engine.containers.find(&id).ok().map(|container| container.view());
        match view.filter(|view| view.record.state.run().is_some()) {
            Some(view) => adopt(engine, &view.record).await,
            // One that is being started has said so, or will.
            None => leave::leave_if(engine, &id, |phase| phase == Phase::Found).await,
        }
    }
    namespaces(engine).await;
}

/// A container runs on. What a connect or a disconnect left that was not
/// answered goes.
async fn adopt(engine: &Arc<Engine>, record: &Record) {
    let id = record.id.as_str();
    let sandbox = {
        let mut state = engine.networks.state();
        let Some(held) = state.sandboxes.get_mut(id) else { return };
        held.phase = Phase::Live;
        held.sandbox.clone()
    };
    let is_known = |end: &Endpoint| record.networks.contains_key(&end.name);
    let strangers: Vec<_> = sandbox.endpoints.iter().filter(|end| !is_known(end)).cloned().collect();
    let live = engine.containers.find(id).ok().and_then(|container| container.view().live.clone());
    if !strangers.is_empty()
        && let Err(err) = disconnect::take_out(engine, record, live.as_ref(), &sandbox, &strangers).await
    {
        tracing::warn!("networks of container {id}: {err}");
    }
    files::refresh(engine, record, live.as_ref(), None).await;
}

/// Namespaces without a container: of a start or an end that was cut off.
async fn namespaces(engine: &Engine) {
    let dir = netns_dir(engine);
    let names = match Netns::list(&dir) {
        Ok(names) => names,
        Err(err) => return tracing::warn!("{}: {err}", dir.display()),
    };
    for name in names {
        if engine.networks.state().sandboxes.contains_key(&name) {
            continue;
        }
        tracing::info!("removing the network namespace of container {name}, which does not run");
        if let Err(err) = Netns::remove(&dir.join(&name)).await {
            tracing::warn!("network namespace of container {name}: {err}");
        }
    }
}
