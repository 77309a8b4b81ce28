//! Networks in an inspect of a container, in a list of containers and in `stats`.

use super::{
    asked::network_of,
    files::namespace,
    inspect::endpoint_id,
    names::dns_names,
    ports,
    record::{Asked, Endpoint, Sandbox},
};
use crate::{Engine, containers::record::Record};
use hako_api::{
    ApiVersion,
    types::{EndpointIpamConfig, EndpointSettings, NetworkSettings, network::LegacySettings, stats::NetworkStats},
};
use hako_net::{IpNet, Netns, attach};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, net::IpAddr};

/// From which version on names stand apart from aliases.
const DNS_NAMES: ApiVersion = ApiVersion::new(1, 45);
/// From which version on the default bridge is a network like others.
const NO_LEGACY: ApiVersion = ApiVersion::new(1, 52);

/// `NetworkSettings` of an inspect.
#[must_use]
pub fn settings(engine: &Engine, record: &Record, version: ApiVersion) -> NetworkSettings {
    let sandbox = running(engine, record);
    let has_run = record.state.run().is_some() || record.state.ended().is_some();
    // Who has another's namespace has its key.
    let joined = record.host.network_mode.strip_prefix("container:");
    let id = joined.unwrap_or(record.id.as_str());
    let networks = summary(engine, record, version);
    let legacy = version < NO_LEGACY;
    NetworkSettings {
        bridge: legacy.then(String::new),
        sandbox_id: if has_run && joined.is_none() {
            hex::encode(Sha256::digest(format!("sandbox {id}")))
        } else {
            String::new()
        },
        sandbox_key: if has_run { namespace(engine, id).display().to_string() } else { String::new() },
        ports: match &sandbox {
            Some(sandbox) => ports::settings(record, sandbox),
            None if record.state.run().is_some() && network_of(&record.host.network_mode) == Some("none") => {
                ports::settings(record, &Sandbox::default())
            }
            None => BTreeMap::new(),
        },
        legacy: legacy.then(|| networks.get("bridge").map(of_bridge).unwrap_or_default()),
        networks,
    }
}

fn of_bridge(end: &EndpointSettings) -> LegacySettings {
    LegacySettings {
        endpoint_id: end.endpoint_id.clone(),
        gateway: end.gateway.clone(),
        global_ipv6_address: end.global_ipv6_address.clone(),
        global_ipv6_prefix_len: end.global_ipv6_prefix_len,
        ip_address: end.ip_address.clone(),
        ip_prefix_len: end.ip_prefix_len,
        ipv6_gateway: end.ipv6_gateway.clone(),
        mac_address: end.mac_address.clone(),
        ..LegacySettings::default()
    }
}

/// What a container has that runs.
fn running(engine: &Engine, record: &Record) -> Option<Sandbox> {
    record.state.run()?;
    engine.networks.sandbox(record.id.as_str())
}

/// `Networks`, by name.
#[must_use]
pub fn summary(engine: &Engine, record: &Record, version: ApiVersion) -> BTreeMap<String, EndpointSettings> {
    let sandbox = running(engine, record);
    let one = |(name, asked): (&String, &Asked)| {
        (name.clone(), endpoint(engine, record, (name.as_str(), asked), sandbox.as_ref(), version))
    };
    record.networks.iter().map(one).collect()
}

fn endpoint(
    engine: &Engine,
    record: &Record,
    (name, asked): (&str, &Asked),
    sandbox: Option<&Sandbox>,
    version: ApiVersion,
) -> EndpointSettings {
    let network = engine.networks.exactly(name);
    let has_run = record.state.run().is_some() || record.state.ended().is_some();
    let bridge = network.as_ref().and_then(|network| network.bridge());
    let has_names = bridge.is_some_and(|bridge| !bridge.is_default);
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let mut aliases = asked.aliases.clone();
    if has_names && version < DNS_NAMES && has_run {
        aliases.push(record.id.short().to_owned());
    }
    let mut shown = EndpointSettings {
        ipam_config: asked.ipam.then(|| EndpointIpamConfig {
            ipv4_address: text(asked.ipv4.map(IpAddr::V4)),
            ipv6_address: text(asked.ipv6.map(IpAddr::V6)),
            link_local_ips: (!asked.link_local.is_empty())
                .then(|| asked.link_local.iter().map(IpAddr::to_string).collect()),
        }),
        links: list(&asked.links),
        aliases: list(&aliases),
        mac_address: asked.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        driver_opts: (!asked.driver_opts.is_empty()).then(|| asked.driver_opts.clone()),
        gw_priority: asked.gw_priority,
        dns_names: (has_names && has_run).then(|| dns_names(record, name)),
        ..EndpointSettings::default()
    };
    let Some(network) = network.as_ref().filter(|_| has_run) else { return shown };
    shown.network_id.clone_from(&network.id);
    let runs_without = record.state.run().is_some() && bridge.is_none();
    let end = sandbox.and_then(|sandbox| sandbox.on(&network.id));
    if runs_without || end.is_some() {
        shown.endpoint_id = endpoint_id(record.id.as_str(), &network.id);
    }
    if let Some((end, bridge)) = end.zip(bridge) {
        fill(&mut shown, end, bridge);
    }
    shown
}

fn fill(shown: &mut EndpointSettings, end: &Endpoint, bridge: &super::record::Bridge) {
    let text = |net: Option<IpNet>| net.map(|net| net.addr().to_string()).unwrap_or_default();
    let length = |net: Option<IpNet>| net.map_or(0, |net| i64::from(net.prefix_len()));
    shown.mac_address = end.interface.mac.to_string();
    (shown.ip_address, shown.ip_prefix_len) = (text(end.v4()), length(end.v4()));
    (shown.global_ipv6_address, shown.global_ipv6_prefix_len) = (text(end.v6()), length(end.v6()));
    // Of a network from which nothing leads outside there is none.
    if !bridge.internal {
        shown.gateway = end.v4().and(bridge.gateway4()).map(|ip| ip.to_string()).unwrap_or_default();
        shown.ipv6_gateway = end.v6().and(bridge.gateway6()).map(|ip| ip.to_string()).unwrap_or_default();
    }
}

/// `networks` of `stats`: what the container's interfaces have carried.
pub async fn counters(engine: &Engine, record: &Record) -> Option<BTreeMap<String, NetworkStats>> {
    let id = record.host.network_mode.strip_prefix("container:").unwrap_or(record.id.as_str());
    let sandbox = engine.networks.sandbox(id)?;
    let netns = Netns::open(&namespace(engine, id)).await.ok()?;
    let counters = attach::counters(&netns).await.ok()?;
    let shown = counters.into_iter().filter_map(|of| {
        let end = sandbox.endpoints.iter().find(|end| match &end.tap {
            Some(tap) => *tap == of.name,
            None => end.interface.name == of.name,
        })?;
        let mut stats = NetworkStats {
            rx_bytes: of.rx_bytes,
            rx_packets: of.rx_packets,
            rx_errors: of.rx_errors,
            rx_dropped: of.rx_dropped,
            tx_bytes: of.tx_bytes,
            tx_packets: of.tx_packets,
            tx_errors: of.tx_errors,
            tx_dropped: of.tx_dropped,
        };
        if end.tap.is_some() {
            // What leaves the guest comes out of the device.
            stats = stats.turned();
        }
        Some((end.interface.name.clone(), stats))
    });
    let shown: BTreeMap<_, _> = shown.collect();
    (!shown.is_empty()).then_some(shown)
}
