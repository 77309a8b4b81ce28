//! `--link` on the default bridge: a container knows another by an alias, in its
//! `/etc/hosts` and its environment. (On other networks a link is an alias that
//! one container alone knows: see `names`.)

use super::{asked::network_of, files};
use crate::{Engine, containers::record::Record};
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
    let mut ports: Vec<(&str, &str)> = Vec::new();
    for port in other.config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        ports.push(port.split_once('/').unwrap_or((port, "tcp")));
    }
    ports.sort_by_key(|(port, protocol)| (*protocol != "tcp", port.parse::<u16>().unwrap_or(0)));
    let mut env = Vec::new();
    if let Some((port, protocol)) = ports.first() {
        env.push(format!("{alias}_PORT={protocol}://{address}:{port}"));
    }
    for (port, protocol) in ports {
        let key = format!("{alias}_PORT_{port}_{}", protocol.to_uppercase());
        env.push(format!("{key}={protocol}://{address}:{port}"));
        env.push(format!("{key}_ADDR={address}"));
        env.push(format!("{key}_PORT={port}"));
        env.push(format!("{key}_PROTO={protocol}"));
    }
    env.push(format!("{alias}_NAME=/{}/{}", record.name, link.alias));
    let theirs = other.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    env.extend(
        theirs
            .filter(|(name, _)| !matches!(*name, "HOME" | "PATH"))
            .map(|(name, value)| format!("{alias}_ENV_{name}={value}")),
    );
    env
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
