//! Ports: what is exposed, what is published where, and how both are shown.

use super::record::{Network, Sandbox};
use crate::{Engine, containers::record::Record};
use hako_api::types::{ContainerConfig, HostConfig, Port, PortBinding};
use hako_model::{Error, Result};
use hako_net::{PortRequest, Protocol, ports::Bound};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

/// A port of a container: `80/tcp`.
type Inner = (u16, Protocol);

/// `80`, `80/udp`; also the first of `80-90/udp`.
fn inner(text: &str) -> Result<Vec<Inner>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol =
        protocol.parse::<Protocol>().map_err(|_| Error::invalid(format!("invalid port specification: {text:?}")))?;
    let ports = range(ports).filter(|ports| *ports.start() > 0);
    let ports = ports.ok_or_else(|| Error::invalid(format!("invalid port specification: {text:?}")))?;
    Ok(ports.map(|port| (port, protocol)).collect())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

/// Docker's words for what is malformed.
///
/// # Errors
/// `InvalidParameter`.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    for port in config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        inner(port)?;
    }
    for (port, bindings) in host.port_bindings.iter().flatten() {
        inner(port)?;
        for binding in bindings {
            host_ports(binding)?;
            host_ip(binding)?;
        }
    }
    Ok(())
}

fn host_ports(binding: &PortBinding) -> Result<RangeInclusive<u16>> {
    match binding.host_port.as_str() {
        "" => Ok(0..=0),
        text => range(text).ok_or_else(|| Error::invalid(format!("invalid port specification: {text:?}"))),
    }
}

fn host_ip(binding: &PortBinding) -> Result<Option<IpAddr>> {
    match binding.host_ip.trim_matches(['[', ']']) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    }
}

/// What a start asks of the host, in the ports' order; for `network`, to which
/// they lead.
pub(super) fn requests(record: &Record, network: &Network) -> Result<Vec<PortRequest>> {
    let default =
        network.bridge().and_then(|bridge| bridge.host_ip).filter(|ip| *ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut bindings: BTreeMap<Inner, Vec<PortBinding>> = BTreeMap::new();
    for (port, asked) in record.host.port_bindings.iter().flatten() {
        for port in inner(port)? {
            bindings.entry(port).or_default().extend(asked.iter().cloned());
        }
    }
    if record.host.publish_all_ports {
        for port in record.config.exposed_ports.iter().flatten().map(|(port, _)| port) {
            for port in inner(port)? {
                bindings.entry(port).or_insert_with(|| vec![PortBinding::default()]);
            }
        }
    }
    let mut requests = Vec::new();
    for ((container_port, protocol), asked) in bindings {
        // A port without a binding is published anywhere, as in Docker.
        let asked = if asked.is_empty() { vec![PortBinding::default()] } else { asked };
        for binding in asked {
            let host_ip = host_ip(&binding)?.or(default);
            requests.push(PortRequest { protocol, container_port, host_ip, host_ports: host_ports(&binding)? });
        }
    }
    Ok(requests)
}

/// The requests that give the very ports again which were bound: of all addresses of
/// both families there is one.
pub(super) fn again(bound: &[Bound]) -> Vec<PortRequest> {
    let mut requests: Vec<PortRequest> = Vec::new();
    for one in bound {
        let host_ip = Some(one.host.ip()).filter(|ip| !ip.is_unspecified());
        let request = PortRequest {
            protocol: one.protocol,
            container_port: one.container_port,
            host_ip,
            host_ports: one.host.port()..=one.host.port(),
        };
        // The unspecified addresses of both families are one request, also in Docker's own answers.
        let alone = host_ip.is_none() && !bound.iter().any(|other| other != one && same_but_family(one, other));
        let request = if alone { PortRequest { host_ip: Some(one.host.ip()), ..request } } else { request };
        if !requests.contains(&request) {
            requests.push(request);
        }
    }
    requests
}

fn same_but_family(one: &Bound, other: &Bound) -> bool {
    one.protocol == other.protocol
        && one.container_port == other.container_port
        && one.host.port() == other.host.port()
        && other.host.ip().is_unspecified()
}

/// `NetworkSettings.Ports` of a container that runs.
pub(super) fn settings(record: &Record, sandbox: &Sandbox) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut shown: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
    for port in record.config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        for (port, protocol) in inner(port).unwrap_or_default() {
            shown.entry(format!("{port}/{protocol}")).or_insert(None);
        }
    }
    for one in &sandbox.ports {
        let binding = PortBinding { host_ip: one.host.ip().to_string(), host_port: one.host.port().to_string() };
        let port = format!("{}/{}", one.container_port, one.protocol);
        shown.entry(port).or_insert(None).get_or_insert_default().push(binding);
    }
    shown
}

/// `Ports` of a list: those of a container that runs.
#[must_use]
pub fn listed(engine: &Engine, record: &Record) -> Vec<Port> {
    let Some(sandbox) = record.state.run().and_then(|_| engine.networks.sandbox(record.id.as_str())) else {
        return Vec::new();
    };
    let mut shown = Vec::new();
    let mut published: BTreeSet<Inner> = BTreeSet::new();
    for one in &sandbox.ports {
        published.insert((one.container_port, one.protocol));
        shown.push(Port {
            ip: one.host.ip().to_string(),
            private_port: one.container_port,
            public_port: Some(one.host.port()),
            r#type: one.protocol.to_string(),
        });
    }
    let exposed = record.config.exposed_ports.iter().flatten().flat_map(|(port, _)| inner(port).unwrap_or_default());
    for (port, protocol) in exposed.filter(|port| !published.contains(port)) {
        shown.push(Port { private_port: port, r#type: protocol.to_string(), ..Port::default() });
    }
    shown.sort_by(|a, b| (a.private_port, &a.r#type, &a.ip).cmp(&(b.private_port, &b.r#type, &b.ip)));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(inner("80").unwrap(), [(80, Protocol::Tcp)]);
        assert_eq!(inner("80-81/udp").unwrap(), [(80, Protocol::Udp), (81, Protocol::Udp)]);
        for wrong in ["", "x", "0", "80/odd", "81-80", "65536"] {
            assert!(inner(wrong).is_err(), "{wrong}");
        }
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        assert_eq!(host_ports(&binding("", "")).unwrap(), 0..=0);
        assert_eq!(host_ports(&binding("", "80-90")).unwrap(), 80..=90);
        assert_eq!(host_ip(&binding("[::1]", "")).unwrap(), Some("::1".parse().unwrap()));
        assert!(host_ip(&binding("nowhere", "")).is_err() && host_ports(&binding("", "x")).is_err());
    }

    #[test]
    fn the_same_ports_again() {
        let bound =
            |host: &str, port| Bound { protocol: Protocol::Tcp, host: host.parse().unwrap(), container_port: port };
        let both = again(&[bound("0.0.0.0:8080", 80), bound("[::]:8080", 80), bound("127.0.0.1:9", 90)]);
        assert_eq!(both.len(), 2);
        assert_eq!((both[0].host_ip, both[0].host_ports.clone()), (None, 8080..=8080));
        assert_eq!(both[1].host_ip, Some("127.0.0.1".parse().unwrap()));
        // Where there was no IPv6, or one family was asked for, it stays so.
        let one = again(&[bound("0.0.0.0:8080", 80)]);
        assert_eq!(one[0].host_ip, Some("0.0.0.0".parse().unwrap()));
    }
}
