//! The networks that are always there: `host`, `none`, and `bridge` unless the
//! engine was told to have none.

use super::{
    plumbing::{Plumbing, default_bridge},
    record::{Bridge, Driver, Network},
    stored, told,
};
use crate::Engine;
use hako_api::time;
use hako_model::{ContainerId, Error, Result};
use hako_net::{
    IpNet, bridge,
    ipam::{self, Pool, Subnet},
};
use hako_store::NetworkRow;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// The largest packet where no uplink says another.
const MTU: u32 = 1500;

/// Puts them into the store and the index, as the settings have them now.
pub(super) async fn ensure(engine: &Engine, plumbing: &Plumbing) -> Result<()> {
    for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
        if engine.networks.exactly(name).is_none() {
            put(engine, fresh(name, driver)).await?;
        }
    }
    let known = engine.networks.exactly("bridge");
    let is_used = known.as_ref().is_some_and(|network| engine.networks.is_used(&network.id));
    match known {
        // Containers run on it: it stays as it is.
        Some(_) if is_used => Ok(()),
        Some(network) if !engine.config.network.bridge => {
            let id = network.id.clone();
            stored(engine, move |store| store.delete_network(&id)).await?;
            engine.networks.state().networks.remove(&network.id);
            Ok(())
        }
        None if !engine.config.network.bridge => Ok(()),
        known => {
            let before = known.as_ref().and_then(|network| network.bridge());
            let driver = Driver::Bridge(default(engine, plumbing, before).await?);
            let mut network = known.as_ref().map_or_else(|| fresh("bridge", Driver::Null), |known| (**known).clone());
            network.options = options(&driver);
            network.driver = driver;
            if known.is_some_and(|known| serde_json::to_string(&*known).ok() == serde_json::to_string(&network).ok()) {
                return Ok(());
            }
            put(engine, network).await
        }
    }
}

fn fresh(name: &str, driver: Driver) -> Network {
    Network {
        id: ContainerId::random().to_string(),
        name: name.to_owned(),
        created: time::now(),
        driver,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        attachable: false,
        ipam_options: None,
    }
}

/// Writes a network, and shows it.
pub(super) async fn put(engine: &Engine, network: Network) -> Result<()> {
    let json = serde_json::to_string(&network).map_err(|err| Error::internal(err.to_string()))?;
    let row = NetworkRow { id: network.id.clone(), name: network.name.clone(), json };
    stored(engine, move |store| store.put_network(&row)).await?;
    engine.networks.state().networks.insert(network.id.clone(), Arc::new(network));
    Ok(())
}

async fn default(engine: &Engine, plumbing: &Plumbing, before: Option<&Bridge>) -> Result<Bridge> {
    let asked = &engine.config.network;
    let name = default_bridge(&engine.config.exec_root);
    let range = asked.fixed_cidr.map(IpNet::V4);
    let subnet = match (asked.bip, before.and_then(|bridge| bridge.subnets.first())) {
        (Some(bip), _) => {
            let gateway = Some(IpAddr::V4(bip.addr()));
            Subnet::new(IpNet::V4(bip.trunc()), range, gateway, BTreeMap::new()).map_err(told)?
        }
        (None, Some(before)) if before.ip_range == range => before.clone(),
        (None, _) => {
            let taken = taken(engine, plumbing, Some(&name)).await?;
            let free = ipam::pick_subnet(&pools(engine), false, &taken).map_err(told)?;
            Subnet::new(free, range, None, BTreeMap::new()).map_err(told)?
        }
    };
    Ok(Bridge {
        name,
        subnets: vec![subnet],
        internal: false,
        icc: asked.icc,
        masquerade: asked.ip_masq,
        mtu: mtu(engine, plumbing).await?,
        host_ip: Some(asked.ip),
        is_default: true,
        has_own_subnets: asked.bip.is_some(),
    })
}

/// What Docker says of its own.
fn options(driver: &Driver) -> BTreeMap<String, String> {
    let Driver::Bridge(bridge) = driver else { return BTreeMap::new() };
    let host_ip = bridge.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    [
        ("bridge.default_bridge", "true".to_owned()),
        ("bridge.enable_icc", bridge.icc.to_string()),
        ("bridge.enable_ip_masquerade", bridge.masquerade.to_string()),
        ("bridge.host_binding_ipv4", host_ip.to_string()),
        ("bridge.name", bridge.name.clone()),
        ("driver.mtu", bridge.mtu.to_string()),
    ]
    .map(|(key, value)| (format!("com.docker.network.{key}"), value))
    .into()
}

/// Where subnets come from that nobody names.
pub(super) fn pools(engine: &Engine) -> Vec<Pool> {
    let asked = &engine.config.network.pools;
    if asked.is_empty() { ipam::default_pools() } else { asked.clone() }
}

/// Every subnet that a new network must keep off. `except` is a bridge that
/// does not count.
pub(super) async fn taken(engine: &Engine, plumbing: &Plumbing, except: Option<&str>) -> Result<Vec<IpNet>> {
    let all = engine.networks.all();
    let bridges: Vec<&Bridge> = all.iter().filter_map(|network| network.bridge()).collect();
    let mut ours: Vec<String> = bridges.iter().map(|bridge| bridge.name.clone()).collect();
    ours.extend(except.map(str::to_owned));
    let mut taken = bridge::subnets_in_use(&plumbing.host, &ours).await.map_err(told)?;
    let others = bridges.iter().filter(|bridge| Some(bridge.name.as_str()) != except);
    taken.extend(others.flat_map(|bridge| &bridge.subnets).map(|subnet| subnet.subnet));
    Ok(taken)
}

/// The largest packet of a network that says none.
pub(super) async fn mtu(engine: &Engine, plumbing: &Plumbing) -> Result<u32> {
    match engine.config.network.mtu {
        Some(mtu) => Ok(mtu),
        None => Ok(bridge::uplink_mtu(&plumbing.host).await.map_err(told)?.unwrap_or(MTU)),
    }
}
