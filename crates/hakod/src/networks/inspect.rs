//! `GET /networks/{id}`, and how a network is shown.

use super::record::{Endpoint, Network};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::types::network::{ConfigReference, EndpointResource, Ipam, IpamConfig, NetworkInspect};
use hako_model::{Error, Result};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Everything about one network, with the containers on it.
pub fn serve(engine: &Engine, req: &Request) -> Result<Response> {
    if !matches!(req.query.get("scope"), "" | "local") {
        return Err(Error::not_found(format!("network {} not found", req.param)));
    }
    let network = engine.networks.find(&req.param)?;
    let mut shown = render(&network);
    let on = engine.networks.on(&network.id);
    shown.containers = on.into_iter().map(|(id, end)| (id.clone(), resource(engine, &id, &network, &end))).collect();
    Ok(json(&shown))
}

fn resource(engine: &Engine, container: &str, network: &Network, end: &Endpoint) -> EndpointResource {
    let text = |net: Option<hako_net::IpNet>| net.map(|net| net.to_string()).unwrap_or_default();
    EndpointResource {
        name: engine.containers.find(container).map(|c| c.view().record.name.clone()).unwrap_or_default(),
        endpoint_id: endpoint_id(container, &network.id),
        mac_address: end.interface.mac.to_string(),
        ipv4_address: text(end.v4()),
        ipv6_address: text(end.v6()),
    }
}

/// An identifier for a container's place in a network, the same for each run.
pub(super) fn endpoint_id(container: &str, network: &str) -> String {
    hex::encode(Sha256::digest(format!("{container} on {network}")))
}

/// A network without its containers, as a list has it.
pub(super) fn render(network: &Arc<Network>) -> NetworkInspect {
    let bridge = network.bridge();
    let subnet = |subnet: &hako_net::ipam::Subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.ip_range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: subnet.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    };
    let config = bridge.map(|bridge| bridge.subnets.iter().map(subnet).collect::<Vec<_>>());
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: network.created.clone(),
        scope: "local".to_owned(),
        driver: network.driver_name().to_owned(),
        enable_ipv4: bridge.is_none_or(|bridge| bridge.gateway4().is_some()),
        enable_ipv6: bridge.is_some_and(super::record::Bridge::has_ipv6),
        ipam: Ipam { driver: "default".to_owned(), options: network.ipam_options.clone(), config },
        internal: bridge.is_some_and(|bridge| bridge.internal),
        attachable: network.attachable,
        ingress: false,
        config_from: ConfigReference::default(),
        config_only: false,
        options: network.options.clone(),
        labels: network.labels.clone(),
        ..NetworkInspect::default()
    }
}
