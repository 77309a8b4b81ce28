//! A network's bridge, rules and name server: made when they are first needed,
//! and taken away with the network, or by an engine that ends with nobody on it.

use super::{
    plumbing::Plumbing,
    record::{Bridge, Network},
    told,
};
use crate::Engine;
use hako_model::{Error, Result};
use hako_net::{
    IpNet, bridge,
    firewall::{FilteredNetwork, Model, PublishedPort},
};
use std::{fs, sync::Arc};

/// Makes sure of `network`'s bridge and what belongs to it.
///
/// # Errors
/// The kernel's, `nft`'s, or that somebody has the name server's port.
pub(super) async fn raise(engine: &Engine, network: &Network) -> Result<()> {
    let Some(bridge) = network.bridge() else { return Ok(()) };
    let mut raised = engine.networks.raised.lock().await;
    if raised.contains(&network.id) {
        return Ok(());
    }
    let plumbing = engine.networks.plumbing()?;
    let done = make(engine, plumbing, bridge, raised.is_empty()).await;
    if let Err(err) = done {
        clear(plumbing, bridge).await;
        return Err(err.context(format!("network {}", network.name)));
    }
    raised.insert(network.id.clone());
    Ok(())
}

async fn make(engine: &Engine, plumbing: &Arc<Plumbing>, bridge: &Bridge, is_first: bool) -> Result<()> {
    interface(plumbing, bridge).await?;
    if is_first {
        write(engine, plumbing, vec![filtered(bridge)], Vec::new(), bridge.has_ipv6()).await?;
    } else {
        forward(engine, plumbing, bridge.has_ipv6()).await?;
        plumbing.firewall.add_network(filtered(bridge)).await.map_err(told)?;
    }
    listen(plumbing, bridge).await
}

/// The whole table, of networks whose bridges there are.
pub(super) async fn write(
    engine: &Engine,
    plumbing: &Arc<Plumbing>,
    networks: Vec<FilteredNetwork>,
    ports: Vec<PublishedPort>,
    ipv6: bool,
) -> Result<()> {
    let drop_others = forward(engine, plumbing, ipv6).await?;
    plumbing.firewall.apply(Model { networks, ports, drop_others }).await.map_err(told)?;
    plumbing.watch();
    Ok(())
}

/// The host becomes a router for us. Whether it was none before is remembered
/// for as long as the host is up: it must not become one for others.
async fn forward(engine: &Engine, plumbing: &Plumbing, ipv6: bool) -> Result<bool> {
    let mark = engine.config.exec_root.join("forwarding");
    let was_off = bridge::enable_forwarding(&plumbing.host, ipv6).await.map_err(told)?;
    if was_off {
        fs::write(&mark, "off\n").map_err(|err| Error::internal(format!("{}: {err}", mark.display())))?;
    }
    Ok(was_off || mark.exists())
}

/// The interface itself.
pub(super) async fn interface(plumbing: &Plumbing, bridge: &Bridge) -> Result<()> {
    let addresses = bridge.subnets.iter().map(|subnet| IpNet::new_assert(subnet.gateway, subnet.subnet.prefix_len()));
    let wanted =
        hako_net::Bridge { name: bridge.name.clone(), addresses: addresses.collect(), mtu: bridge.mtu, mac: None };
    bridge::ensure(&plumbing.host, &wanted).await.map_err(told)
}

/// Answers for names.
pub(super) async fn listen(plumbing: &Plumbing, bridge: &Bridge) -> Result<()> {
    for address in bridge.name_servers() {
        plumbing.dns.bind(address).await.map_err(told)?;
    }
    Ok(())
}

/// As the firewall sees it.
pub(super) fn filtered(bridge: &Bridge) -> FilteredNetwork {
    FilteredNetwork {
        bridge: bridge.name.clone(),
        subnets: bridge.subnets.iter().map(|subnet| subnet.subnet).collect(),
        internal: bridge.internal,
        icc: bridge.icc,
        masquerade: bridge.masquerade,
    }
}

/// Takes a network's bridge, rules and name server away.
///
/// # Errors
/// The last thing that could not be taken away.
pub(super) async fn lower(engine: &Engine, network: &Network) -> Result<()> {
    let Some(bridge) = network.bridge() else { return Ok(()) };
    let mut raised = engine.networks.raised.lock().await;
    if !raised.remove(&network.id) {
        return Ok(());
    }
    let plumbing = engine.networks.plumbing()?;
    let mut result = take_away(plumbing, bridge).await;
    if raised.is_empty() {
        result = result.and(plumbing.firewall.remove().await.map_err(told));
    }
    result
}

async fn take_away(plumbing: &Plumbing, bridge: &Bridge) -> Result<()> {
    for address in bridge.name_servers() {
        plumbing.dns.unbind(address).await;
    }
    let rules = plumbing.firewall.remove_network(&bridge.name).await;
    let interface = bridge::remove(&plumbing.host, &bridge.name).await;
    rules.and(interface).map_err(told)
}

/// After a failure: whatever is there.
async fn clear(plumbing: &Plumbing, bridge: &Bridge) {
    if let Err(err) = take_away(plumbing, bridge).await {
        tracing::warn!("bridge {}: {err}", bridge.name);
    }
}
