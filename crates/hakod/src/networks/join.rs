//! A container is started: its namespace, its interfaces and its ports, all of
//! them there before its first process.

use super::{
    asked::network_of,
    emit, files,
    inside::{self, Inside},
    leave, links,
    plumbing::{Plumbing, netns_path},
    ports, put_sandbox, raise,
    record::{Endpoint, Sandbox},
    spot::{self, Wanted},
    told,
};
use crate::{Engine, containers::record::Record};
use hako_model::{Error, Result, VmNetwork};
use hako_net::{Netns, Reserved, ports::Target};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a start needs of it.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The namespace.
    pub namespace: PathBuf,
    /// What the container's files are made of.
    pub facts: files::Facts,
    /// The interfaces.
    pub sandbox: Sandbox,
}

impl Joined {
    /// What a virtual machine is told when it starts.
    pub fn vm_network(&self) -> VmNetwork {
        inside::vm_network(self.namespace.clone(), &self.sandbox)
    }
}

/// Whether the engine makes the container's namespace: the runtime makes those in
/// which there is a loopback alone, and the others are somebody else's.
fn is_ours(record: &Record) -> bool {
    !record.config.network_disabled && !matches!(network_of(&record.host.network_mode), None | Some("host" | "none"))
}

/// Whether the container's virtual machine has a network card.
pub fn has_card(engine: &Engine, record: &Record) -> bool {
    // What is wrong with its networks, the start says.
    is_ours(record) && wanted(engine, record).is_ok_and(|wanted| !wanted.is_empty())
}

/// Makes everything; `None` where nothing is to be made. On an error nothing is
/// left. `waited` is a namespace that becomes the container's; else one is made.
///
/// # Errors
/// Docker's words: no such network, an address or a port that is taken.
pub async fn join(engine: &Arc<Engine>, record: &Record, waited: Option<&Path>) -> Result<Option<Joined>> {
    if !is_ours(record) {
        return Ok(None);
    }
    let id = record.id.as_str();
    // Of a run whose end no engine saw.
    leave::leave(engine, id).await;
    match make(engine, record, waited).await {
        Ok(joined) => Ok(Some(joined)),
        Err(err) => {
            leave::leave(engine, id).await;
            Err(err)
        }
    }
}

/// The networks that it asks for, that of its mode first.
fn wanted(engine: &Engine, record: &Record) -> Result<Vec<Wanted>> {
    let main = network_of(&record.host.network_mode).unwrap_or_default();
    let mut found = Vec::new();
    for (name, asked) in &record.networks {
        // Without a default bridge who asks for it has a loopback, as with dockerd.
        if name == "bridge" && engine.networks.exactly(name).is_none() {
            continue;
        }
        let network =
            engine.networks.exactly(name).ok_or_else(|| Error::not_found(format!("network {name} not found")))?;
        found.push((network, asked.clone()));
    }
    found.sort_by_key(|(network, _)| network.name != main && network.id != main);
    Ok(found)
}

async fn make(engine: &Arc<Engine>, record: &Record, waited: Option<&Path>) -> Result<Joined> {
    let id = record.id.as_str();
    let plumbing = engine.networks.plumbing()?;
    let wanted = wanted(engine, record)?;
    let empty = Sandbox { isolation: Some(record.isolation), ..Sandbox::default() };
    let mut sandbox = spot::take(engine, id, &wanted, &empty).await?;
    sandbox.card = sandbox.endpoints.first().and_then(|endpoint| endpoint.tap.clone());
    for (network, _) in &wanted {
        raise::raise(engine, network).await?;
    }
    if files::asks_for_gateway(record)
        && let Some(bridge) = engine.networks.exactly("bridge")
    {
        raise::raise(engine, &bridge).await?;
    }
    let reserved = reserve(engine, record, plumbing, &sandbox).await?;
    sandbox.ports = reserved.as_ref().map(|reserved| reserved.bound().to_vec()).unwrap_or_default();
    let published = reserved.as_ref().map(|reserved| reserved.published().to_vec()).unwrap_or_default();
    engine.networks.keep(id, &sandbox, reserved);
    put_sandbox(engine, id, &sandbox).await?;
    let namespace = netns_path(engine, id);
    let netns = match waited {
        Some(waited) => Netns::rename(waited, &namespace).await,
        None => Netns::create(&namespace).await,
    };
    let netns = netns.map_err(told)?;
    let inside = Inside::fresh(netns);
    for endpoint in &sandbox.endpoints {
        inside.plug(plumbing, endpoint).await?;
    }
    if !published.is_empty() {
        plumbing.firewall.publish(&published).await.map_err(told)?;
    }
    for (network, _) in &wanted {
        emit(engine, network, "connect", Some(id));
    }
    let facts = files::facts(engine, record)?;
    links::tell(engine, id).await;
    Ok(Joined { namespace, facts, sandbox })
}

/// Takes the container's ports of the host.
async fn reserve(engine: &Engine, record: &Record, plumbing: &Plumbing, sandbox: &Sandbox) -> Result<Option<Reserved>> {
    let Some(leader) = spot::leader(sandbox) else { return Ok(None) };
    let Some(network) = engine.networks.exactly(&leader.network) else { return Ok(None) };
    let requests = ports::requests(record, &network)?;
    if requests.is_empty() {
        return Ok(None);
    }
    let reserved = Reserved::bind(&plumbing.host, &requests, &target(leader)).await;
    reserved.map(Some).map_err(|err| spot::of_endpoint(told(err), record.id.as_str(), leader))
}

/// Where ports lead to.
pub(super) fn target(leader: &Endpoint) -> Target {
    let v4 = leader.v4().and_then(|net| match net.addr() {
        std::net::IpAddr::V4(v4) => Some(v4),
        std::net::IpAddr::V6(_) => None,
    });
    let v6 = leader.v6().and_then(|net| match net.addr() {
        std::net::IpAddr::V6(v6) => Some(v6),
        std::net::IpAddr::V4(_) => None,
    });
    Target { v4, v6, bridge: leader.interface.bridge.clone() }
}

/// Moves the ports to where packets come in now, after the networks of a
/// running container have changed. The host's ports stay the same.
pub(super) async fn move_ports(
    engine: &Engine,
    record: &Record,
    before: &Sandbox,
    sandbox: &mut Sandbox,
) -> Result<()> {
    let id = record.id.as_str();
    let of = |sandbox: &Sandbox| spot::leader(sandbox).map(target);
    if of(before) == of(sandbox) {
        return Ok(());
    }
    let plumbing = engine.networks.plumbing()?;
    leave::drop_ports(engine, id).await;
    sandbox.ports.clear();
    let Some(leader) = spot::leader(sandbox) else { return Ok(()) };
    let reserved = if before.ports.is_empty() {
        reserve(engine, record, plumbing, sandbox).await?
    } else {
        let again = ports::again(&before.ports);
        let bound = Reserved::bind(&plumbing.host, &again, &target(leader)).await;
        Some(bound.map_err(|err| spot::of_endpoint(told(err), id, leader))?)
    };
    let Some(reserved) = reserved else { return Ok(()) };
    sandbox.ports = reserved.bound().to_vec();
    let published = reserved.published().to_vec();
    engine.networks.keep(id, sandbox, Some(reserved));
    if published.is_empty() { Ok(()) } else { plumbing.firewall.publish(&published).await.map_err(told) }
}

impl super::Networks {
    /// Shows what a container has now, and holds its ports.
    pub(super) fn keep(&self, container: &str, sandbox: &Sandbox, reserved: Option<Reserved>) {
        if let Some(held) = self.state().sandboxes.get_mut(container) {
            held.sandbox = sandbox.clone();
            held.reserved = reserved.or(held.reserved.take());
        }
    }
}
