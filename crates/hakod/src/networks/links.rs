//! `--link` on the default bridge: a container knows another by an alias, in its
//! `/etc/hosts` and its environment. (On other networks a link is an alias that
//! one container alone knows: see `names`.)

use super::{asked::network_of, files};
use crate::{Engine, containers::record::Record, shim::Live};
use hako_api::types::HostConfig;
use hako_model::{Error, Isolation, Result};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// Another container, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its id, so that a rename changes nothing.
    pub container: String,
    /// What it is called.
    pub alias: String,
}

impl Link {
    /// `name:alias`, `name`, or `/name:/me/alias` as inspect shows it.
    ///
    /// # Errors
    /// Docker's words.
    fn parse(engine: &Engine, text: &str) -> Result<Self> {
        let (name, alias) = match text.split(':').collect::<Vec<_>>()[..] {
            [""] => return Err(Error::invalid("empty string specified for links")),
            [name] => (name, name),
            [name, alias] => (name, alias.rsplit('/').next().unwrap_or(alias)),
            _ => return Err(Error::invalid(format!("bad format for links: {text}"))),
        };
        let name = name.trim_start_matches('/');
        let found = engine.containers.find(name);
        let found =
            found.map_err(|err| Error::invalid(format!("could not get container for {name}: {}", err.message)))?;
        if found.view().record.host.network_mode == "host" {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        Ok(Self { container: found.id.to_string(), alias: alias.trim_start_matches('/').to_owned() })
    }
}

/// The links of a container that is created, where links mean something.
///
/// # Errors
/// Docker's words for one that leads nowhere.
pub fn resolve(engine: &Engine, host: &HostConfig) -> Result<Vec<Link>> {
    if network_of(&host.network_mode) != Some("bridge") {
        return Ok(Vec::new());
    }
    host.links.iter().flatten().map(|text| Link::parse(engine, text)).collect()
}

/// `HostConfig.Links` as inspect shows them.
pub fn shown(engine: &Engine, record: &Record) -> Option<Vec<String>> {
    if record.links.is_empty() {
        return record.host.links.clone();
    }
    let show = |link: &Link| {
        let other = engine.containers.find(&link.container).ok()?;
        Some(format!("/{}:/{}/{}", other.view().record.name, record.name, link.alias))
    };
    Some(record.links.iter().filter_map(show).collect())
}

/// A linked container, as it stands.
fn others(engine: &Engine, record: &Record) -> Result<Vec<(Link, Record, IpAddr)>> {
    let mut found = Vec::new();
    for link in &record.links {
        // A link goes with the container that it leads to.
        let Ok(other) = engine.containers.find(&link.container) else { continue };
        let other = other.view().record.clone();
        // One that is being started has its address already.
        if !other.state.is_running() && engine.networks.sandbox(&link.container).is_none() {
            return Err(Error::conflict(format!(
                "Cannot link to a non running container: /{} AS /{}/{}",
                other.name, record.name, link.alias
            )));
        }
        let sandbox = engine.networks.sandbox(&link.container).unwrap_or_default();
        let is_default = |id: &str| engine.networks.exactly(id).is_some_and(|network| network.name == "bridge");
        let endpoint = sandbox.endpoints.iter().find(|endpoint| is_default(&endpoint.network));
        let Some(address) = endpoint.and_then(|endpoint| endpoint.addresses().next()) else {
            let name = &other.name;
            return Err(Error::invalid(format!(
                "Cannot link to /{name}, as it does not belong to the default network"
            )));
        };
        found.push((link.clone(), other, address));
    }
    Ok(found)
}

/// Lines for `/etc/hosts`: an address, with its names.
///
/// # Errors
/// A linked container does not run, or is elsewhere.
pub(super) fn hosts(engine: &Engine, record: &Record) -> Result<Vec<(IpAddr, String)>> {
    let line = |(link, other, address): (Link, Record, IpAddr)| {
        let mut names = format!("{} {}", link.alias, other.config.hostname);
        if link.alias != other.name {
            names = format!("{names} {}", other.name);
        }
        (address, names)
    };
    Ok(others(engine, record)?.into_iter().map(line).collect())
}

/// Variables about the linked containers.
///
/// # Errors
/// As [`hosts`].
pub fn environment(engine: &Engine, record: &Record) -> Result<Vec<String>> {
    let others = others(engine, record)?;
    Ok(others.iter().flat_map(|(link, other, address)| variables(record, link, other, *address)).collect())
}

fn variables(record: &Record, link: &Link, other: &Record, address: IpAddr) -> Vec<String> {
    let alias = link.alias.to_uppercase().replace('-', "_");
    let ports = other.config.exposed_ports.iter().flatten().map(|(port, _)| port.as_str());
    let mut env = port_variables(&alias, address, ports);
    env.push(format!("{alias}_NAME=/{}/{}", record.name, link.alias));
    let theirs = other.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    env.extend(
        theirs
            .filter(|(name, _)| !matches!(*name, "HOME" | "PATH"))
            .map(|(name, value)| format!("{alias}_ENV_{name}={value}")),
    );
    env
}

/// Of each port, and of the first and the last of those that follow one another.
fn port_variables<'a>(alias: &str, address: IpAddr, ports: impl Iterator<Item = &'a str>) -> Vec<String> {
    let parse = |port: &'a str| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        Some((protocol != "tcp", protocol, number.parse::<u16>().ok()?))
    };
    let mut ports: Vec<(bool, &str, u16)> = ports.filter_map(parse).collect();
    ports.sort_unstable();
    let url = |protocol: &str, port: u16| format!("{protocol}://{address}:{port}");
    let mut env = Vec::new();
    if let Some((_, protocol, port)) = ports.first() {
        env.push(format!("{alias}_PORT={}", url(protocol, *port)));
    }
    for range in ports.chunk_by(|one, next| one.1 == next.1 && one.2.checked_add(1) == Some(next.2)) {
        let key = |port: u16, protocol: &str| format!("{alias}_PORT_{port}_{}", protocol.to_uppercase());
        for (_, protocol, port) in range {
            let key = key(*port, protocol);
            env.push(format!("{key}={}", url(protocol, *port)));
            env.push(format!("{key}_ADDR={address}"));
            env.push(format!("{key}_PORT={port}"));
            env.push(format!("{key}_PROTO={protocol}"));
        }
        if let [(_, protocol, first), .., (_, _, last)] = range {
            let key = key(*first, protocol);
            env.push(format!("{key}_START={}", url(protocol, *first)));
            env.push(format!("{key}_PORT_START={first}"));
            env.push(format!("{key}_END={}", url(protocol, *last)));
            env.push(format!("{key}_PORT_END={last}"));
        }
    }
    env
}

/// A running container has lost a link: its files do not name it any more.
pub async fn unlinked(engine: &Engine, before: &Record, after: &Record, live: Option<&Live>) {
    let facts = files::facts(engine, before).ok();
    files::refresh(engine, after, live, facts.as_ref()).await;
}

/// A container has started: who links to it learns its address.
pub(super) async fn tell(engine: &Arc<Engine>, container: &str) {
    for other in engine.containers.all() {
        let view = other.view();
        let links = view.record.links.iter().any(|link| link.container == container);
        if !links || view.record.state.run().is_none() {
            continue;
        }
        let (engine, isolation) = (engine.clone(), view.record.isolation);
        let refreshed = async move { files::refresh(&engine, &view.record, view.live.as_ref(), None).await };
        match isolation {
            Isolation::Process => refreshed.await,
            // One that does not answer is not waited for.
            Isolation::Hyperv => drop(tokio::spawn(refreshed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_one_another() {
        let ports = ["6381/tcp", "6380/tcp", "53/udp", "6379", "6382/udp", "80/tcp", "65535/tcp"];
        let env = port_variables("DB", IpAddr::from([172, 17, 0, 2]), ports.into_iter());
        assert_eq!(env[0], "DB_PORT=tcp://172.17.0.2:80");
        let ends: Vec<&String> = env.iter().filter(|line| line.contains("START") || line.contains("END")).collect();
        let expected = [
            "DB_PORT_6379_TCP_START=tcp://172.17.0.2:6379",
            "DB_PORT_6379_TCP_PORT_START=6379",
            "DB_PORT_6379_TCP_END=tcp://172.17.0.2:6381",
            "DB_PORT_6379_TCP_PORT_END=6381",
        ];
        assert_eq!(ends, expected);
        for line in ["DB_PORT_6380_TCP=tcp://172.17.0.2:6380", "DB_PORT_6382_UDP_PROTO=udp", "DB_PORT_53_UDP_PORT=53"] {
            assert!(env.iter().any(|found| found == line), "{line}: {env:?}");
        }
        assert!(port_variables("DB", IpAddr::from([1, 2, 3, 4]), std::iter::empty()).is_empty());
    }
}
