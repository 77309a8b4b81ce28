//! The names that containers ask the engine for: those of the containers on
//! their networks, and what lies outside from the host's name servers.

use super::record::Asked;
use crate::{Engine, containers::record::Record};
use hako_net::{Answer, Names, Query, Question};
use rand::seq::SliceRandom;
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

/// How long the host's name servers are believed to be the same.
const FRESH: Duration = Duration::from_secs(5);
const PORT: u16 = 53;

/// Answers from what the engine knows now.
pub(super) struct EngineNames {
    engine: Weak<Engine>,
    host: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

/// A container on one of the asker's networks.
struct Neighbour {
    record: Record,
    addresses: Vec<IpAddr>,
}

impl EngineNames {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::downgrade(engine), host: Mutex::default() }
    }

    /// Where names are looked up that are no container's.
    fn outside(&self, engine: &Engine, asker: &Record) -> Answer {
        let is_inside = |name: &String| {
            let network = engine.networks.exactly(name);
            network.is_some_and(|network| network.bridge().is_some_and(|bridge| bridge.internal))
        };
        if asker.networks.keys().all(is_inside) {
            return Answer::Refuse;
        }
        let asked: Vec<IpAddr> = asker.host.dns.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
        let asked = if asked.is_empty() { engine.config.network.dns.clone() } else { asked };
        let servers: Vec<SocketAddr> = asked.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
        let servers = if servers.is_empty() { self.hosts() } else { servers };
        if servers.is_empty() { Answer::Refuse } else { Answer::Forward(servers) }
    }

    fn hosts(&self) -> Vec<SocketAddr> {
        let mut cached = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, servers)) = &*cached
            && read.elapsed() < FRESH
        {
            return servers.clone();
        }
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers: Vec<SocketAddr> =
            super::files::servers(&text).into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect();
        *cached = Some((Instant::now(), servers.clone()));
        servers
    }
}

impl Names for EngineNames {
    fn answer(&self, query: &Query) -> Answer {
        let Some(engine) = self.engine.upgrade() else { return Answer::Refuse };
        let Some(asker) = asker(&engine, query) else { return Answer::Refuse };
        let found = match &query.question {
            Question::A(name) | Question::Aaaa(name) => addresses(&engine, &asker, name).map(|mut addresses| {
                // Who asks for both kinds of addresses would meet a turn at the same place again.
                addresses.shuffle(&mut rand::rng());
                Answer::Addresses(addresses)
            }),
            Question::Ptr(address) => pointer(&engine, &asker, *address).map(|name| Answer::Pointers(vec![name])),
            Question::Other(name) => addresses(&engine, &asker, name).map(|_| Answer::NoData),
        };
        found.unwrap_or_else(|| self.outside(&engine, &asker))
    }
}

/// The container that asks: who has the address. A guest may still ask at the
/// gateway of a network that it has left; subnets do not overlap.
fn asker(engine: &Engine, query: &Query) -> Option<Record> {
    let all = engine.networks.all();
    let id = all.iter().find_map(|network| engine.networks.owner(&network.id, query.source))?;
    Some(engine.containers.find(&id).ok()?.view().record.clone())
}

/// The networks of a container on which there are names: with their names.
fn named_networks(engine: &Engine, record: &Record) -> Vec<(String, String)> {
    let sandbox = engine.networks.sandbox(record.id.as_str()).unwrap_or_default();
    let network = |id: &String| {
        let network = engine.networks.exactly(id)?;
        let has_names = network.bridge().is_some_and(|bridge| !bridge.is_default);
        has_names.then(|| (id.clone(), network.name.clone()))
    };
    sandbox.endpoints.iter().filter_map(|endpoint| network(&endpoint.network)).collect()
}

fn neighbours(engine: &Engine, network: &str) -> Vec<Neighbour> {
    let neighbour = |(id, endpoint): (String, super::record::Endpoint)| {
        let record = engine.containers.find(&id).ok()?.view().record.clone();
        Some(Neighbour { record, addresses: endpoint.addresses().collect() })
    };
    engine.networks.on(network).into_iter().filter_map(neighbour).collect()
}

/// The addresses of everybody who is called `name` on the first of the asker's
/// networks that knows it; `None` where none does.
fn addresses(engine: &Engine, asker: &Record, name: &str) -> Option<Vec<IpAddr>> {
    for (id, network) in named_networks(engine, asker) {
        let neighbours = neighbours(engine, &id);
        let suffix = format!(".{}", network.to_ascii_lowercase());
        let bare = name.strip_suffix(&suffix);
        let mine = asker.networks.get(&network).cloned().unwrap_or_default();
        for name in [Some(name), bare].into_iter().flatten() {
            let wanted = linked(&mine, name).unwrap_or(name);
            let called = |neighbour: &&Neighbour| is_called(&neighbour.record, &network, wanted);
            let found: Vec<IpAddr> = neighbours.iter().filter(called).flat_map(|n| n.addresses.clone()).collect();
            if !found.is_empty() {
                return Some(found);
            }
        }
    }
    None
}

/// Whom the asker alone calls `name`.
fn linked<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.links.iter().find_map(|link| {
        let (other, alias) = link.split_once(':').unwrap_or((link.as_str(), link.as_str()));
        alias.eq_ignore_ascii_case(name).then_some(other)
    })
}

/// Whether the container is called `name` on `network`.
fn is_called(record: &Record, network: &str, name: &str) -> bool {
    dns_names(record, network).iter().any(|one| one.eq_ignore_ascii_case(name)) || record.id.as_str() == name
}

/// What a container is called on a network: `DNSNames`.
pub(super) fn dns_names(record: &Record, network: &str) -> Vec<String> {
    let aliases = record.networks.get(network).map(|asked| asked.aliases.clone()).unwrap_or_default();
    let mut names = vec![record.name.clone()];
    let others = [record.id.short().to_owned(), record.config.hostname.clone()];
    for name in aliases.into_iter().chain(others) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name of who has the address on one of the asker's networks.
fn pointer(engine: &Engine, asker: &Record, address: IpAddr) -> Option<String> {
    named_networks(engine, asker).into_iter().find_map(|(id, network)| {
        let owner = engine.networks.owner(&id, address)?;
        let name = engine.containers.find(&owner).ok()?.view().record.name.clone();
        Some(format!("{name}.{network}"))
    })
}
