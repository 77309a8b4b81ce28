//! Which address, hardware address and interface a container gets in a network,
//! and which of its networks leads outside.

use super::{
    Networks, Phase,
    record::{Asked, Bridge, Endpoint, Network, Sandbox},
    told,
};
use crate::Engine;
use hako_model::{Error, ErrorKind, Isolation, Result};
use hako_net::{Gateways, Interface, IpNet, Mac};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

/// How long an address is waited for that somebody is giving back.
const PATIENCE: Duration = Duration::from_secs(10);
const OWN_SUBNETS: &str =
    "user specified IP address is supported only when connecting to networks with user configured subnets";

/// A network, and what is asked for in it.
pub(super) type Wanted = (Arc<Network>, Asked);

/// Gives `container` its place in each of `wanted`, beside what `sandbox` has.
/// From here on nobody else gets its addresses.
///
/// # Errors
/// Docker's words: an address that is taken, or a network without a free one.
pub(super) async fn take(engine: &Engine, container: &str, wanted: &[Wanted], sandbox: &Sandbox) -> Result<Sandbox> {
    let networks = &engine.networks;
    let begin = tokio::time::Instant::now();
    loop {
        let left = networks.left.notified();
        tokio::pin!(left);
        left.as_mut().enable();
        {
            let _turn = networks.turn.lock().await;
            match choose(networks, wanted, sandbox.clone()) {
                Ok(chosen) => {
                    networks.hold(container, chosen.clone());
                    return Ok(chosen);
                }
                Err(err) if begin.elapsed() > PATIENCE || !networks.anybody_leaves(wanted) => return Err(err),
                Err(_) => {}
            }
        }
        // The next look decides.
        let _ = tokio::time::timeout(PATIENCE, left).await;
    }
}

fn choose(networks: &Networks, wanted: &[Wanted], mut sandbox: Sandbox) -> Result<Sandbox> {
    for (network, asked) in wanted {
        let Some(bridge) = networks.exactly(&network.id).and_then(|network| network.bridge().cloned()) else {
            return Err(Error::not_found(format!("network {} not found", network.name)));
        };
        let endpoint = endpoint(&networks.used(&network.id), network, &bridge, asked, &sandbox)?;
        sandbox.endpoints.push(endpoint);
    }
    set_leaders(networks, &mut sandbox);
    Ok(sandbox)
}

fn endpoint(
    used: &BTreeSet<IpAddr>,
    network: &Network,
    bridge: &Bridge,
    asked: &Asked,
    sandbox: &Sandbox,
) -> Result<Endpoint> {
    if (asked.ipv4.is_some() || asked.ipv6.is_some()) && !bridge.has_own_subnets {
        return Err(Error::invalid(OWN_SUBNETS));
    }
    let mut addresses = Vec::new();
    for (six, asked) in [(false, asked.ipv4.map(IpAddr::V4)), (true, asked.ipv6.map(IpAddr::V6))] {
        let mut subnets = bridge.subnets.iter().filter(|subnet| subnet.subnet.addr().is_ipv6() == six);
        match asked {
            Some(address) => {
                let subnet = subnets.find(|subnet| subnet.subnet.contains(&address)).ok_or_else(|| {
                    let text =
                        format!("Invalid address {address}: It does not belong to any of this network's subnets");
                    Error::invalid(text)
                })?;
                subnet.fixed(address, used).map_err(told)?;
                addresses.push(subnet.with_prefix(address));
            }
            None => {
                if let Some(subnet) = subnets.next() {
                    addresses.push(subnet.with_prefix(subnet.allocate(used, None).map_err(told)?));
                }
            }
        }
    }
    let mac = asked.mac.unwrap_or_else(|| match addresses.first() {
        Some(IpNet::V4(v4)) => Mac::of_ipv4(v4.addr()),
        Some(IpNet::V6(_)) | None => Mac::from_random(rand::random()),
    });
    let link_local = |ip: &IpAddr| if ip.is_ipv4() { IpNet::new_assert(*ip, 16) } else { IpNet::new_assert(*ip, 64) };
    addresses.extend(asked.link_local.iter().map(link_local));
    let is_guest = sandbox.isolation == Some(Isolation::Hyperv);
    let name = interface_name(asked, sandbox)?;
    Ok(Endpoint {
        network: network.id.clone(),
        name: network.name.clone(),
        tap: is_guest.then(|| format!("tap{}", next_tap(sandbox))),
        interface: Interface {
            host_name: format!("veth{}", &hex::encode(rand::random::<[u8; 4]>())[..7]),
            bridge: bridge.name.clone(),
            name,
            mac,
            mtu: bridge.mtu,
            isolated: !bridge.icc,
            addresses,
            gateways: Gateways::default(),
            routes: Vec::new(),
            sysctls: sysctls(asked)?,
        },
        gw_priority: asked.gw_priority,
    })
}

fn interface_name(asked: &Asked, sandbox: &Sandbox) -> Result<String> {
    let Some(name) = asked.driver_opts.get("com.docker.network.endpoint.ifname") else {
        return Ok(sandbox.next_name());
    };
    let fits = (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b));
    if !fits || matches!(name.as_str(), "." | ".." | "lo") {
        return Err(Error::invalid(format!("invalid interface name: {name:?}")));
    }
    if sandbox.endpoints.iter().any(|endpoint| endpoint.interface.name == *name) {
        return Err(Error::conflict(format!("interface name {name} is used by another network of the container")));
    }
    Ok(name.clone())
}

fn next_tap(sandbox: &Sandbox) -> usize {
    let taken = |n: &usize| sandbox.endpoints.iter().any(|end| end.tap.as_deref() == Some(&format!("tap{n}")));
    (0..).find(|n| !taken(n)).unwrap_or_default()
}

/// `com.docker.network.endpoint.sysctls`: `net.ipv4.conf.IFNAME.forwarding=1,…`.
fn sysctls(asked: &Asked) -> Result<Vec<(String, String)>> {
    let Some(text) = asked.driver_opts.get("com.docker.network.endpoint.sysctls") else { return Ok(Vec::new()) };
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let ours = ["net.ipv4.", "net.ipv6.", "net.mpls."].iter().any(|start| name.starts_with(start));
        if !ours || !name.contains(".IFNAME.") || name.contains('/') || value.is_empty() {
            return Err(Error::invalid(format!("invalid endpoint sysctl: {pair:?}")));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(one).collect()
}

/// The interfaces by whom packets leave: of each family the one of the highest
/// priority, and then the first by the network's name, as in Docker.
pub(super) fn set_leaders(networks: &Networks, sandbox: &mut Sandbox) {
    let order = |end: &Endpoint| (std::cmp::Reverse(end.gw_priority), end.name.clone());
    let mut gateways: Vec<(String, Gateways, (std::cmp::Reverse<i64>, String))> = Vec::new();
    for end in &mut sandbox.endpoints {
        end.interface.gateways = Gateways::default();
        let network = networks.exactly(&end.network);
        let Some(bridge) = network.as_ref().and_then(|network| network.bridge()).filter(|b| !b.internal) else {
            continue;
        };
        let found = Gateways { v4: end.v4().and(bridge.gateway4()), v6: end.v6().and(bridge.gateway6()) };
        gateways.push((end.network.clone(), found, order(end)));
    }
    gateways.sort_by(|a, b| a.2.cmp(&b.2));
    let v4 = gateways.iter().find_map(|(id, found, _)| Some((id.clone(), found.v4?)));
    let v6 = gateways.iter().find_map(|(id, found, _)| Some((id.clone(), found.v6?)));
    for end in &mut sandbox.endpoints {
        end.interface.gateways.v4 = v4.as_ref().filter(|(id, _)| *id == end.network).map(|(_, gateway)| *gateway);
        end.interface.gateways.v6 = v6.as_ref().filter(|(id, _)| *id == end.network).map(|(_, gateway)| *gateway);
    }
}

/// The default routes of the whole container.
pub(super) fn gateways(sandbox: &Sandbox) -> Gateways {
    let mut all = Gateways::default();
    for end in &sandbox.endpoints {
        all.v4 = all.v4.or(end.interface.gateways.v4);
        all.v6 = all.v6.or(end.interface.gateways.v6);
    }
    all
}

/// The interface that ports lead to.
pub(super) fn leader(sandbox: &Sandbox) -> Option<&Endpoint> {
    let leads = |end: &&Endpoint| end.interface.gateways.v4.is_some();
    let six = |end: &&Endpoint| end.interface.gateways.v6.is_some();
    sandbox.endpoints.iter().find(leads).or_else(|| sandbox.endpoints.iter().find(six))
}

impl Networks {
    /// Shows what a container has.
    fn hold(&self, container: &str, sandbox: Sandbox) {
        let mut state = self.state();
        match state.sandboxes.get_mut(container) {
            Some(held) => (held.sandbox, held.phase) = (sandbox, Phase::Live),
            None => {
                let held = super::Held { sandbox, reserved: None, phase: Phase::Live };
                state.sandboxes.insert(container.to_owned(), held);
            }
        }
    }

    /// Whether an address of one of the networks is about to be free.
    fn anybody_leaves(&self, wanted: &[Wanted]) -> bool {
        let state = self.state();
        let mut leaving = state.sandboxes.values().filter(|held| held.phase == Phase::Leaving);
        leaving.any(|held| wanted.iter().any(|(network, _)| held.sandbox.on(&network.id).is_some()))
    }

    /// Waits until those who are leaving `network` have left.
    pub(super) async fn all_left(&self, network: &str) {
        let leaving = || {
            let state = self.state();
            state.sandboxes.values().any(|held| held.phase == Phase::Leaving && held.sandbox.on(network).is_some())
        };
        let all = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                if !leaving() {
                    return;
                }
                left.await;
            }
        };
        // Who cannot leave is still there, which is found out next.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

/// The error of a taken address keeps its kind, with the endpoint's name before it.
pub(super) fn of_endpoint(err: Error, container: &str, endpoint: &Endpoint) -> Error {
    let id = super::inspect::endpoint_id(container, &endpoint.network);
    let text = format!(
        "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({id})",
        endpoint.name
    );
    Error::new(ErrorKind::Internal, format!("{text}: {}", err.message))
}
