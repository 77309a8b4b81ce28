//! The interfaces of a guest.
//!
//! ```text
//! eth0 in the guest ── virtio-net ── QEMU ── tap0 ⇄ mirred ⇄ veth ── bridge
//! eth1 in the guest = tap ── stream ── this process ── tap1 ⇄ mirred ⇄ veth ── bridge
//! ```
//!
//! The machine has one network card, whoever uses it, and nothing can be
//! plugged into it while it runs.

use super::{guest::Guest, stdio::open_stream};
use crate::frames;
use hako_model::{Error, GuestInterface, NetworkChange, Result, VmNetwork};
use hako_task::{extra::NetworkRequest, stdio::StreamHead};
use std::{collections::HashMap, path::PathBuf};
use tokio::task::JoinHandle;

/// What leads to the guest's interfaces, by their names.
#[derive(Debug, Default)]
pub(super) struct Links {
    netns: PathBuf,
    /// The tap device of the network card.
    card: Option<String>,
    /// The interface that uses the card.
    by_card: Option<String>,
    by_stream: HashMap<String, JoinHandle<()>>,
}

impl Links {
    /// None yet.
    pub fn of(network: Option<&VmNetwork>) -> Self {
        let Some(network) = network else { return Self::default() };
        let card = network.interfaces.first().map(|interface| interface.tap.clone());
        Self { netns: network.netns.clone(), card, ..Self::default() }
    }

    fn has(&self, name: &str) -> bool {
        self.by_card.as_deref() == Some(name) || self.by_stream.contains_key(name)
    }
}

impl Guest {
    /// Gives the guest its interfaces and settings, before anything runs in it.
    pub async fn networks(&self, network: &VmNetwork, sysctls: &[(String, String)]) -> Result<()> {
        for interface in &network.interfaces {
            let change = NetworkChange::Connect(interface.clone());
            self.network_awake(change)
                .await
                .map_err(|err| err.context(format!("the interface {} of the virtual machine", interface.name)))?;
        }
        if sysctls.is_empty() {
            return Ok(());
        }
        self.network_awake(NetworkChange::Sysctls(sysctls.to_vec())).await
    }

    /// Changes the interfaces of a guest that runs.
    pub async fn network(&self, change: NetworkChange) -> Result<()> {
        self.awake(self.network_awake(change)).await
    }

    async fn network_awake(&self, change: NetworkChange) -> Result<()> {
        let mut links = self.links.lock().await;
        match change {
            NetworkChange::Connect(interface) => self.connect(&mut links, interface).await,
            NetworkChange::Disconnect(name) => self.disconnect(&mut links, name).await,
            other @ (NetworkChange::Gateways { .. } | NetworkChange::Sysctls(_) | NetworkChange::Files { .. }) => {
                self.tell(other, false).await
            }
        }
    }

    async fn connect(&self, links: &mut Links, interface: GuestInterface) -> Result<()> {
        let name = interface.name.clone();
        if links.has(&name) {
            return Err(Error::conflict(format!("the container has an interface {name} already")));
        }
        if links.card.as_deref() == Some(&interface.tap) {
            if let Some(user) = &links.by_card {
                return Err(Error::conflict(format!("the network card of the virtual machine is {user}")));
            }
            self.tell(NetworkChange::Connect(interface), false).await?;
            links.by_card = Some(name);
            return Ok(());
        }
        if links.netns.as_os_str().is_empty() {
            return Err(Error::invalid("the virtual machine has no network namespace"));
        }
        let open = || hako_os::tap::open_with_offload(&interface.tap);
        let tap = hako_os::netns::within(&links.netns, open)
            .map_err(|err| Error::internal(format!("open the tap device {}: {err}", interface.tap)))?;
        let stream = open_stream(&self.mux, &StreamHead::Frames { name: name.clone() }).await?;
        // Frames that come before the guest is ready wait in the stream.
        let joined = frames::join(tap, stream)?;
        if let Err(err) = self.tell(NetworkChange::Connect(interface), true).await {
            frames::part(joined).await;
            return Err(err);
        }
        links.by_stream.insert(name, joined);
        Ok(())
    }

    async fn disconnect(&self, links: &mut Links, name: String) -> Result<()> {
        if !links.has(&name) {
            return Err(Error::not_found(format!("the container has no interface {name}")));
        }
        let told = self.tell(NetworkChange::Disconnect(name.clone()), false).await;
        // Whatever the guest says: nothing reaches it this way any more.
        match links.by_stream.remove(&name) {
            Some(joined) => frames::part(joined).await,
            None => links.by_card = None,
        }
        told
    }

    async fn tell(&self, change: NetworkChange, by_stream: bool) -> Result<()> {
        let request = NetworkRequest { id: self.id().to_owned(), change, by_stream };
        self.understood(self.extra().network(&request).await).await
    }
}
