//! What a container asks for of networks: checked in Docker's words, and kept
//! by the networks' names.

use super::record::{Asked, is_predefined};
use crate::Engine;
use hako_api::types::{ContainerConfig, EndpointSettings, HostConfig};
use hako_model::{Error, Result};
use hako_net::Mac;
use std::{collections::BTreeMap, net::IpAddr};

/// The network that a mode stands for; none for another container's.
#[must_use]
pub fn network_of(mode: &str) -> Option<&str> {
    match mode {
        "" | "default" => Some("bridge"),
        mode if mode.starts_with("container:") => None,
        mode => Some(mode),
    }
}

/// Modes and options that do not go together: moby's `validateNetMode`.
///
/// # Errors
/// `InvalidParameter`.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let any = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let joins = host.network_mode.split(':').next() == Some("container");
    let is_host = host.network_mode == "host";
    let ports = host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let exposed = config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let undefined = "This would result in undefined behavior";
    let wrong = [
        (
            joins && host.network_mode.strip_prefix("container:").is_none_or(str::is_empty),
            "Invalid network mode: invalid container format container:<name|id>".to_owned(),
        ),
        (joins && !config.hostname.is_empty(), conflict("hostname and the network mode")),
        (joins && any(&host.links), conflict(&format!("container type network can't be used with links. {undefined}"))),
        (joins && any(&host.dns), conflict("dns and the network mode")),
        (joins && any(&host.extra_hosts), conflict("custom host-to-IP mapping and the network mode")),
        ((joins || is_host) && !config.mac_address.is_empty(), conflict("mac-address and the network mode")),
        (joins && ports, conflict("port publishing and the container type network mode")),
        (joins && exposed, conflict("port exposing and the container type network mode")),
        (is_host && any(&host.links), conflict(&format!("host type networking can't be used with links. {undefined}"))),
    ];
    match wrong.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, text)) => Err(Error::invalid(text)),
        None => Ok(()),
    }
}

fn conflict(what: &str) -> String {
    format!("conflicting options: {what}")
}

/// The networks of a container that is created, with what it asks for in each.
///
/// # Errors
/// Docker's words for what is malformed, or for a network that is not there.
pub fn asked(
    engine: &Engine,
    endpoints: BTreeMap<String, EndpointSettings>,
    config: &ContainerConfig,
    host: &HostConfig,
) -> Result<BTreeMap<String, Asked>> {
    let Some(mode) = network_of(&host.network_mode) else { return Ok(BTreeMap::new()) };
    let named = |name: &str| engine.networks.find(name).map_or_else(|_| name.to_owned(), |net| net.name.clone());
    let main = named(mode);
    let mut all = BTreeMap::new();
    for (name, endpoint) in endpoints {
        let name = if name == "default" { "bridge".to_owned() } else { named(&name) };
        if name != main && !is_predefined(&name) && engine.networks.exactly(&name).is_none() {
            return Err(Error::not_found(format!("network {name} not found")));
        }
        let asked = endpoint_of(&name, &endpoint)?;
        all.insert(name, asked);
    }
    if let Some(other) = all.keys().find(|name| **name != main && matches!(name.as_str(), "host" | "none")) {
        return Err(Error::invalid(format!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes: {other}"
        )));
    }
    let own = all.entry(main).or_default();
    if !config.mac_address.is_empty() {
        let mac = mac(&config.mac_address)?;
        if own.mac.is_some_and(|own| own != mac) {
            return Err(Error::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, \
                 or be left empty",
            ));
        }
        own.mac = Some(mac);
    }
    if all.len() > 1 && matches!(mode, "host" | "none") {
        let mode = if mode == "host" {
            "container cannot be disconnected from host network or connected to host network"
        } else {
            NONE
        };
        return Err(Error::invalid(mode));
    }
    Ok(all)
}

/// moby's words for `none` beside others.
pub(super) const NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

fn mac(text: &str) -> Result<Mac> {
    let mac: Mac = text.parse().map_err(|_| Error::invalid(format!("invalid MAC address: {text}")))?;
    if mac.is_unicast() { Ok(mac) } else { Err(Error::invalid(format!("invalid MAC address: {text}"))) }
}

/// What is asked for in the network `name`.
///
/// # Errors
/// Docker's words.
pub(super) fn endpoint_of(name: &str, endpoint: &EndpointSettings) -> Result<Asked> {
    let ipam = endpoint.ipam_config.clone().unwrap_or_default();
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let wrong = |family: &str, text: &str| Error::invalid(format!("invalid {family} address: {text}"));
    let ipv4 = given(&ipam.ipv4_address).map(|text| text.parse().map_err(|_| wrong("IPv4", &text))).transpose()?;
    let ipv6 = given(&ipam.ipv6_address).map(|text| text.parse().map_err(|_| wrong("IPv6", &text))).transpose()?;
    let link_local = ipam.link_local_ips.iter().flatten();
    let link_local: Vec<IpAddr> =
        link_local.map(|text| text.parse().map_err(|_| wrong("link-local IP", text))).collect::<Result<_>>()?;
    if let Some(other) = link_local.iter().find(|ip| !super::record::is_link_local(**ip)) {
        return Err(Error::invalid(format!("invalid link-local IP address: {other}")));
    }
    if is_predefined(name) && (ipv4.is_some() || ipv6.is_some() || !link_local.is_empty()) {
        return Err(Error::invalid("user specified IP address is supported on user defined networks only"));
    }
    let mut aliases = Vec::new();
    for alias in endpoint.aliases.iter().flatten() {
        if !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    if is_predefined(name) && !aliases.is_empty() {
        return Err(Error::invalid("network-scoped alias is supported only for containers in user defined networks"));
    }
    Ok(Asked {
        ipv4,
        ipv6,
        link_local,
        links: endpoint.links.clone().unwrap_or_default(),
        aliases,
        mac: given(&endpoint.mac_address).map(|text| mac(&text)).transpose()?,
        driver_opts: endpoint.driver_opts.clone().unwrap_or_default(),
        gw_priority: endpoint.gw_priority,
        ipam: endpoint.ipam_config.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_api::types::EndpointIpamConfig;

    #[test]
    fn modes_that_exclude_others() {
        let text = |config: ContainerConfig, host: HostConfig| check(&config, &host).unwrap_err().message;
        let host = |mode: &str| HostConfig { network_mode: mode.into(), ..HostConfig::default() };
        let named = ContainerConfig { hostname: "x".into(), ..ContainerConfig::default() };
        assert_eq!(text(named, host("container:y")), "conflicting options: hostname and the network mode");
        assert_eq!(
            text(ContainerConfig::default(), host("container:")),
            "Invalid network mode: invalid container format container:<name|id>"
        );
        let published = HostConfig { publish_all_ports: true, ..host("container:y") };
        assert!(text(ContainerConfig::default(), published).contains("port publishing"));
        assert!(check(&ContainerConfig::default(), &host("host")).is_ok());
    }

    #[test]
    fn endpoints() {
        let with = |ipv4: &str| EndpointSettings {
            ipam_config: Some(EndpointIpamConfig { ipv4_address: ipv4.into(), ..EndpointIpamConfig::default() }),
            aliases: Some(vec!["a".into(), "a".into()]),
            ..EndpointSettings::default()
        };
        let asked = endpoint_of("mine", &with("10.0.0.7")).unwrap();
        assert_eq!((asked.ipv4, asked.aliases.len()), (Some("10.0.0.7".parse().unwrap()), 1));
        assert_eq!(endpoint_of("mine", &with("x")).unwrap_err().message, "invalid IPv4 address: x");
        let text = endpoint_of("bridge", &with("10.0.0.7")).unwrap_err().message;
        assert_eq!(text, "user specified IP address is supported on user defined networks only");
        let text = endpoint_of("bridge", &with("")).unwrap_err().message;
        assert_eq!(text, "network-scoped alias is supported only for containers in user defined networks");
        let odd = EndpointSettings { mac_address: "01:00:00:00:00:00".into(), ..EndpointSettings::default() };
        assert!(endpoint_of("mine", &odd).is_err(), "a group's address");
    }
}
