//! The inside of a container's network: its namespace, or a guest's kernel.
//!
//! ```text
//! process:  bridge ─ veth ═══ eth0                      we set addresses and routes
//! hyperv:   bridge ─ veth ═══ veth0 ⇄ tap0 ─ QEMU ─ eth0   the agent does
//! ```

use super::{
    plumbing::{Plumbing, netns_path},
    record::{Endpoint, Sandbox},
    spot, told,
};
use crate::{Engine, shim::Live};
use hako_model::{Error, GuestInterface, Isolation, NetworkChange, Result, VmNetwork};
use hako_net::{Interface, Netns, TapInterface, attach};
use std::path::PathBuf;

/// How a container's interfaces are got at.
pub(super) struct Inside<'a> {
    netns: Netns,
    /// The shim of a guest that runs.
    guest: Option<&'a Live>,
}

impl<'a> Inside<'a> {
    /// Of a container that is started: a guest is told of its interfaces when it boots.
    pub(super) fn fresh(netns: Netns) -> Self {
        Self { netns, guest: None }
    }

    /// Of a container that runs.
    ///
    /// # Errors
    /// The namespace is gone, or nobody reaches the guest.
    pub(super) async fn running(
        engine: &Engine,
        container: &str,
        isolation: Isolation,
        live: Option<&'a Live>,
    ) -> Result<Self> {
        let netns = Netns::open(&netns_path(engine, container)).await.map_err(told)?;
        let guest = match isolation {
            Isolation::Process => None,
            Isolation::Hyperv => {
                Some(live.ok_or_else(|| Error::conflict(format!("container {container} is not running")))?)
            }
        };
        Ok(Self { netns, guest })
    }

    /// Adds an interface.
    pub(super) async fn plug(&self, plumbing: &Plumbing, endpoint: &Endpoint) -> Result<()> {
        let named = |err: Error| err.context(format!("network {}", endpoint.name));
        let Some(tap) = tap(endpoint) else {
            let done = attach::attach(&plumbing.host, &self.netns, &endpoint.interface).await;
            return done.map_err(|err| named(told(err)));
        };
        attach::attach_tap(&plumbing.host, &self.netns, &tap).await.map_err(|err| named(told(err)))?;
        match self.guest {
            Some(live) => live.network(NetworkChange::Connect(guest_interface(endpoint))).await.map_err(named),
            None => Ok(()),
        }
    }

    /// Takes an interface out of the container, before its other end goes.
    pub(super) async fn withdraw(&self, endpoint: &Endpoint) -> Result<()> {
        match self.guest {
            Some(live) => live.network(NetworkChange::Disconnect(endpoint.interface.name.clone())).await,
            None => Ok(()),
        }
    }

    /// Clears away what is left in the namespace when an interface has gone.
    pub(super) async fn clear(&self, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
        match &endpoint.tap {
            // The machine's network card stays for as long as the machine.
            Some(tap) if sandbox.card.as_ref() != Some(tap) => attach::detach_tap(&self.netns, tap).await.map_err(told),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes the default routes those of `sandbox`.
    pub(super) async fn set_gateways(&self, sandbox: &Sandbox) -> Result<()> {
        let gateways = spot::gateways(sandbox);
        match self.guest {
            Some(live) => live.network(NetworkChange::Gateways { v4: gateways.v4, v6: gateways.v6 }).await,
            None => attach::set_gateways(&self.netns, gateways).await.map_err(told),
        }
    }
}

fn tap(endpoint: &Endpoint) -> Option<TapInterface> {
    let tap = endpoint.tap.clone()?;
    let interface = &endpoint.interface;
    Some(TapInterface {
        host_name: interface.host_name.clone(),
        bridge: interface.bridge.clone(),
        name: tap.replace("tap", "veth"),
        tap,
        mtu: interface.mtu,
        isolated: interface.isolated,
    })
}

fn guest_interface(endpoint: &Endpoint) -> GuestInterface {
    let Interface { name, mac, mtu, addresses, gateways, routes, sysctls, .. } = endpoint.interface.clone();
    GuestInterface {
        name,
        tap: endpoint.tap.clone().unwrap_or_default(),
        mac: mac.to_string(),
        mtu,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        gateway_v4: gateways.v4,
        gateway_v6: gateways.v6,
        routes: routes
            .iter()
            .map(|route| (route.destination.to_string(), route.gateway.map(|ip| ip.to_string())))
            .collect(),
        sysctls,
    }
}

/// What a virtual machine is told when it starts.
pub(super) fn vm_network(namespace: PathBuf, sandbox: &Sandbox) -> VmNetwork {
    VmNetwork { netns: namespace, interfaces: sandbox.endpoints.iter().map(guest_interface).collect() }
}
