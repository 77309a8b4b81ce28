//! Networks: what there is, who is on it, and one file for each verb.
//!
//! ```text
//! create ─► row ─► raised: bridge, firewall, names ──────────────► remove
//!                    ▲ (the default bridge: when the first container comes)
//! start of a container ─► join:  addresses and ports (one row, durable)
//!                                ─► namespace ─► interfaces ─► rules
//! its end ──────────────► leave: ports ─► interfaces ─► namespace ─► the row goes
//! ```
//!
//! A sandbox is what a container has of the host's network. Its row is there
//! before anything of it is made and until all of it is gone, so that an engine
//! that was killed finds again what it has to put right.

mod asked;
pub mod connect;
mod create;
mod defaults;
pub mod disconnect;
pub mod files;
mod inside;
mod inspect;
mod join;
mod leave;
mod links;
mod list;
mod names;
mod plumbing;
mod ports;
mod prune;
mod raise;
pub mod record;
pub mod recover;
mod remove;
mod shown;
mod spare;
mod spot;

pub use asked::{asked, check as check_asked};
pub use create::serve as create;
pub use inspect::serve as inspect;
pub use join::{Joined, has_card, join};
pub use leave::{leave, leave_ports};
pub use links::{Link, environment as link_environment, resolve as resolve_links, shown as shown_links, unlinked};
pub use list::serve as list;
pub(crate) use plumbing::netns_path;
pub use ports::{check as check_ports, listed as listed_ports};
pub use prune::serve as prune;
pub use remove::serve as remove;
pub use shown::{counters, settings, summary};
pub use spare::put_away;

use crate::Engine;
use hako_model::{Error, ErrorKind, Result};
use hako_net::Reserved;
use plumbing::Plumbing;
use record::{Endpoint, Network, Sandbox};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::sync::Notify;

/// All networks, and what containers have of them.
#[derive(Default)]
pub struct Networks {
    state: Mutex<State>,
    /// Held by who gives addresses, or makes or removes a network.
    turn: tokio::sync::Mutex<()>,
    /// The networks whose bridges there are, by id. Held while one is made.
    raised: tokio::sync::Mutex<BTreeSet<String>>,
    plumbing: OnceLock<Arc<Plumbing>>,
    /// Somebody has left.
    left: Notify,
}

#[derive(Default)]
struct State {
    networks: BTreeMap<String, Arc<Network>>,
    sandboxes: BTreeMap<String, Held>,
}

/// A sandbox, with what of it only this process can hold.
struct Held {
    sandbox: Sandbox,
    /// Its host ports: closed when they are dropped.
    reserved: Option<Reserved>,
    phase: Phase,
}

/// How a sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Found in the store at the engine's start; its container is not found yet.
    Found,
    /// Its container runs, or is being started.
    Live,
    /// It is being taken down.
    Leaving,
}

impl Networks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel's side.
    fn plumbing(&self) -> Result<&Arc<Plumbing>> {
        self.plumbing.get().ok_or_else(|| Error::internal("networks are not open yet"))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Network>> {
        self.state().networks.values().cloned().collect()
    }

    /// The network with this whole name or id.
    pub fn exactly(&self, name: &str) -> Option<Arc<Network>> {
        let state = self.state();
        let by_name = || state.networks.values().find(|network| network.name == name);
        state.networks.get(name).or_else(by_name).cloned()
    }

    /// The network that a client calls `term`: a whole id, a name, or the
    /// beginning of an id that is no other's.
    ///
    /// # Errors
    /// Docker's words.
    pub fn find(&self, term: &str) -> Result<Arc<Network>> {
        if let Some(found) = self.exactly(term) {
            return Ok(found);
        }
        let missing = || Error::not_found(format!("network {term} not found"));
        if term.is_empty() {
            return Err(missing());
        }
        let state = self.state();
        let mut fitting = state.networks.range(term.to_owned()..).take_while(|(id, _)| id.starts_with(term));
        match (fitting.next(), fitting.next()) {
            (Some((_, found)), None) => Ok(found.clone()),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("network {term} is ambiguous (2 matches found based on ID prefix)")))
            }
            (None, _) => Err(missing()),
        }
    }

    /// What `container` has, if it runs.
    pub fn sandbox(&self, container: &str) -> Option<Sandbox> {
        let state = self.state();
        state.sandboxes.get(container).filter(|held| held.phase != Phase::Leaving).map(|held| held.sandbox.clone())
    }

    /// The containers on `network`, with their interfaces there.
    pub fn on(&self, network: &str) -> Vec<(String, Endpoint)> {
        let state = self.state();
        let live = state.sandboxes.iter().filter(|(_, held)| held.phase != Phase::Leaving);
        live.filter_map(|(id, held)| Some((id.clone(), held.sandbox.on(network)?.clone()))).collect()
    }

    /// The container that has `address` in `network`.
    fn owner(&self, network: &str, address: IpAddr) -> Option<String> {
        let state = self.state();
        let has = |held: &Held| held.sandbox.on(network).is_some_and(|end| end.addresses().any(|ip| ip == address));
        state.sandboxes.iter().find(|(_, held)| has(held)).map(|(id, _)| id.clone())
    }

    /// Whether anybody has something of `network`, also if he is leaving.
    fn is_used(&self, network: &str) -> bool {
        self.state().sandboxes.values().any(|held| held.sandbox.on(network).is_some())
    }

    /// The addresses that are in use in `network`.
    fn used(&self, network: &str) -> BTreeSet<IpAddr> {
        let state = self.state();
        let ends = state.sandboxes.values().flat_map(|held| &held.sandbox.endpoints);
        let ends = ends.filter(|end| end.network == network);
        ends.flat_map(|end| end.interface.addresses.iter().map(|net| net.addr())).collect()
    }
}

/// Runs `work` on the store.
async fn stored<T: Send + 'static>(
    engine: &Engine,
    work: impl FnOnce(&hako_store::Store) -> hako_store::Result<T> + Send + 'static,
) -> Result<T> {
    let store = engine.store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    Ok(done.map_err(|err| Error::internal(err.to_string()))??)
}

/// Writes what `container` has.
async fn put_sandbox(engine: &Engine, container: &str, sandbox: &Sandbox) -> Result<()> {
    let json = serde_json::to_string(sandbox).map_err(|err| Error::internal(err.to_string()))?;
    let row = hako_store::SandboxRow { container: container.to_owned(), json, addresses: sandbox.addresses() };
    stored(engine, move |store| store.put_sandbox(&row)).await
}

/// The kind of an error of the machinery.
pub(crate) fn told(err: hako_net::Error) -> Error {
    use hako_net::Error as Net;
    let kind = match &err {
        Net::AddressInUse(_) | Net::Overlap => ErrorKind::Forbidden,
        Net::InvalidSubnet(_) | Net::OutOfRange(_) | Net::NoPool => ErrorKind::InvalidParameter,
        Net::NoAddress(_) => ErrorKind::Unavailable,
        Net::Unsupported(_) => ErrorKind::Unsupported,
        // The kernel's, or `nft`'s.
        _ => ErrorKind::Internal,
    };
    Error::new(kind, err.to_string())
}

/// Emits an event about a network, and about a container on it.
fn emit(engine: &Engine, network: &Network, action: &str, container: Option<&str>) {
    let mut about = BTreeMap::from([
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.driver_name().to_owned()),
    ]);
    if let Some(container) = container {
        about.insert("container".to_owned(), container.to_owned());
    }
    engine.events.emit("network", action, &network.id, about);
}
