//! What is said of networks: `--network`, in its short form and its long one,
//! and the flags beside it.

use super::container::Network;
use super::parse::{csv, pairs};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What a container asks for in one network.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    /// IPv4.
    pub(crate) ip: Option<String>,
    /// IPv6.
    pub(crate) ip6: Option<String>,
    /// Link-local addresses.
    pub(crate) link_local: Vec<String>,
    /// Other containers, by aliases of its own.
    pub(crate) links: Vec<String>,
    /// What others may call it.
    pub(crate) aliases: Vec<String>,
    /// The driver's.
    pub(crate) driver_opts: Vec<String>,
    /// Of several networks the highest leads outside.
    pub(crate) gw_priority: Option<i64>,
    /// The hardware address.
    pub(crate) mac: Option<String>,
}

/// `EndpointSettings`; only what was said.
pub(crate) fn endpoint(asked: &Endpoint) -> Value {
    let mut settings = Map::new();
    let mut ipam = Map::new();
    for (key, ip) in [("IPv4Address", &asked.ip), ("IPv6Address", &asked.ip6)] {
        if let Some(ip) = ip {
            ipam.insert(key.to_owned(), ip.as_str().into());
        }
    }
    if !asked.link_local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), asked.link_local.clone().into());
    }
    if !ipam.is_empty() {
        settings.insert("IPAMConfig".to_owned(), ipam.into());
    }
    for (key, list) in [("Links", &asked.links), ("Aliases", &asked.aliases)] {
        if !list.is_empty() {
            settings.insert(key.to_owned(), list.clone().into());
        }
    }
    if !asked.driver_opts.is_empty() {
        settings.insert("DriverOpts".to_owned(), pairs(&asked.driver_opts).into());
    }
    if let Some(priority) = asked.gw_priority {
        settings.insert("GwPriority".to_owned(), priority.into());
    }
    if let Some(mac) = &asked.mac {
        settings.insert("MacAddress".to_owned(), mac.as_str().into());
    }
    settings.into()
}

/// `name`, or `name=NAME,alias=A,ip=…`.
fn parse(text: &str) -> Result<(String, Endpoint)> {
    if !text.contains('=') {
        return Ok((text.to_owned(), Endpoint::default()));
    }
    let (mut name, mut asked) = (None, Endpoint::default());
    for field in csv(text) {
        let (key, value) =
            field.split_once('=').ok_or_else(|| Error::msg(format!("invalid field {field} in --network {text}")))?;
        let value = value.to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value),
            "alias" => asked.aliases.push(value),
            "ip" => asked.ip = Some(value),
            "ip6" => asked.ip6 = Some(value),
            "mac-address" => asked.mac = Some(value),
            "link-local-ip" => asked.link_local.push(value),
            "driver-opt" => asked.driver_opts.push(value),
            "gw-priority" => {
                let wrong = |_| Error::msg(format!("invalid gw-priority ({value}): must be an integer"));
                asked.gw_priority = Some(value.parse().map_err(wrong)?);
            }
            other => return Err(Error::msg(format!("invalid field key {other}"))),
        }
    }
    Ok((name.ok_or_else(|| Error::msg("network name/id is not specified"))?, asked))
}

/// `NetworkMode`, and `EndpointsConfig`.
pub(crate) fn networks(flags: &Network) -> Result<(Option<String>, Map<String, Value>)> {
    let mut networks = flags.network.iter().map(|text| parse(text)).collect::<Result<Vec<_>>>()?;
    let mode = networks.first().map(|(name, _)| name.clone());
    let is_said = flags.ip.is_some()
        || flags.ip6.is_some()
        || flags.mac_address.is_some()
        || !(flags.network_alias.is_empty() && flags.link_local_ip.is_empty() && flags.link.is_empty());
    if networks.is_empty() && is_said {
        networks.push(("default".to_owned(), Endpoint::default()));
    }
    if let Some((name, first)) = networks.first_mut() {
        let both = |flag: &str, field: &str| {
            Error::msg(format!("conflicting options: cannot specify both --{flag} and per-network {field}"))
        };
        for (flag, field, flag_value, own) in [
            ("ip", "IPv4 address", &flags.ip, &mut first.ip),
            ("ip6", "IPv6 address", &flags.ip6, &mut first.ip6),
            ("mac-address", "MAC address", &flags.mac_address, &mut first.mac),
        ] {
            if flag_value.is_some() && own.is_some() {
                return Err(both(flag, field));
            }
            if own.is_none() {
                own.clone_from(flag_value);
            }
        }
        if !flags.network_alias.is_empty() && !first.aliases.is_empty() {
            return Err(both("network-alias", "alias"));
        }
        first.aliases.extend(flags.network_alias.iter().cloned());
        first.link_local.extend(flags.link_local_ip.iter().cloned());
        if !matches!(name.as_str(), "default" | "bridge" | "host" | "none") {
            first.links.extend(flags.link.iter().cloned());
        }
    }
    let mut endpoints = Map::new();
    for (name, asked) in networks {
        if name.starts_with("container:") {
            continue;
        }
        if endpoints.contains_key(&name) {
            return Err(Error::msg(format!("network {name:?} is specified multiple times")));
        }
        endpoints.insert(name, endpoint(&asked));
    }
    Ok((mode, endpoints))
}

/// `EndpointsConfig` in its place; nothing for a network that is only named.
pub(crate) fn config(endpoints: Map<String, Value>) -> Option<Value> {
    let is_plain = endpoints.len() <= 1 && endpoints.values().all(|end| end.as_object().is_none_or(Map::is_empty));
    (!is_plain).then(|| json!({"EndpointsConfig": endpoints}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn both_forms() {
        let flags = Network {
            network: list(&["name=one,alias=a,alias=b,ip=10.0.0.7", "two"]),
            link: list(&["db:d"]),
            ..Network::default()
        };
        let (mode, endpoints) = networks(&flags).unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(mode.as_deref(), Some("one"));
        let one = json!({"IPAMConfig": {"IPv4Address": "10.0.0.7"}, "Links": ["db:d"], "Aliases": ["a", "b"]});
        assert_eq!((&endpoints["one"], &endpoints["two"]), (&one, &json!({})));
        let plain = networks(&Network { network: list(&["mine"]), ..Network::default() });
        assert_eq!(config(plain.unwrap_or_default().1), None);
    }

    #[test]
    fn what_is_said_twice() {
        for (network, alias) in [("name=n,alias=a", "b"), ("alias=a", ""), ("name=n,odd=1", "")] {
            let network_alias = if alias.is_empty() { Vec::new() } else { list(&[alias]) };
            let flags = Network { network: list(&[network]), network_alias, ..Network::default() };
            assert!(networks(&flags).is_err(), "{network}");
        }
        let twice = Network { network: list(&["n", "n"]), ..Network::default() };
        assert!(networks(&twice).is_err());
    }
}
