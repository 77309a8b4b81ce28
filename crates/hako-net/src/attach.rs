//! Interfaces of containers: a veth pair from a bridge into a namespace.
//!
//! Behind the hyperv wall the namespace's end has no address. A tap device in
//! the same namespace is joined to it by tc, and the guest behind the tap has
//! the addresses:
//!
//! ```text
//! bridge ─ veth<7hex> ═══ <name> ⇄ mirred ⇄ <tap> ─ QEMU
//! ```

mod counters;
mod routes;
mod tap;

use crate::{Error, IpNet, Mac, Netns, Result, bridge::add_address, link};
pub use counters::{Counters, counters};
pub use routes::{Gateways, Route, set_gateways};
use routes::{default_route, static_route};
use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkMessage,
    },
};
use serde::{Deserialize, Serialize};
use std::os::fd::AsRawFd;
pub use tap::{TapInterface, attach_tap, detach_tap};

/// A veth pair with addresses at its far end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The end on the bridge: `veth<7 hex>`.
    pub host_name: String,
    /// The bridge that it is put on.
    pub bridge: String,
    /// The end in the namespace: `eth0`.
    pub name: String,
    /// The hardware address of that end.
    pub mac: Mac,
    /// As the bridge's.
    pub mtu: u32,
    /// Whether it reaches only the bridge itself, none of the others on it (no `enable_icc`).
    #[serde(default)]
    pub isolated: bool,
    /// Its addresses, with their network's prefix length.
    pub addresses: Vec<IpNet>,
    /// Default routes by this interface.
    pub gateways: Gateways,
    /// Further routes by this interface.
    pub routes: Vec<Route>,
    /// `net.ipv4.conf.IFNAME.…` and the like, with `IFNAME` as Docker has it
    /// (`com.docker.network.endpoint.sysctls`): names with slashes or dots, and values.
    pub sysctls: Vec<(String, String)>,
}

/// The end on the bridge, and what its other end is to be.
struct Pair<'a> {
    host_name: &'a str,
    bridge: &'a str,
    name: &'a str,
    mac: Mac,
    mtu: u32,
    isolated: bool,
}

/// Makes the pair and all that belongs to it. Usable while processes run in
/// `netns`. A pair of that host name, left from before a crash, is replaced.
///
/// # Errors
/// The kernel's. On an error nothing is left behind.
pub async fn attach(host: &Netns, netns: &Netns, interface: &Interface) -> Result<()> {
    let pair = Pair {
        host_name: &interface.host_name,
        bridge: &interface.bridge,
        name: &interface.name,
        mac: interface.mac,
        mtu: interface.mtu,
        isolated: interface.isolated,
    };
    make(host, netns, &pair).await?;
    let configured = configure(netns, interface).await;
    undo_on_error(configured, host, pair.host_name).await
}

async fn undo_on_error(done: Result<()>, host: &Netns, host_name: &str) -> Result<()> {
    if done.is_err() {
        // The first error is the one to report.
        let _ = detach(host, host_name).await;
    }
    done
}

/// Makes the pair: the near end on its bridge and up, the far one down.
async fn make(host: &Netns, netns: &Netns, pair: &Pair<'_>) -> Result<()> {
    let netlink = host.netlink().await?;
    let controller = link::index(&netlink, pair.bridge).await?;
    let step = || format!("make the interfaces {} and {}", pair.host_name, pair.name);
    let add = || netlink.link().add(veth(netns, pair, controller)).execute();
    match add().await.map_err(Error::netlink(step())) {
        Err(err) if err.is(nix::Error::EEXIST) => {
            detach(host, pair.host_name).await?;
            add().await.map_err(Error::netlink(step()))?;
        }
        made => made?,
    }
    let ported = netlink.link().set_port(port(pair)).execute().await;
    let ported = ported.map_err(Error::netlink(format!("set {} up on {}", pair.host_name, pair.bridge)));
    undo_on_error(ported, host, pair.host_name).await
}

/// Both ends in one message, the far one in its namespace at once.
fn veth(netns: &Netns, pair: &Pair<'_>, controller: u32) -> LinkMessage {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(pair.name)
        .mtu(pair.mtu)
        .address(pair.mac.0.to_vec())
        .setns_by_fd(netns.as_fd().as_raw_fd())
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(pair.host_name)
        .mtu(pair.mtu)
        .controller(controller)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build()
}

/// The near end, as its bridge treats it.
fn port(pair: &Pair<'_>) -> LinkMessage {
    // A bridge's port has no address of its own; the kernel would give it one of IPv6.
    let no_address = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut port = LinkBridgePort::new(0)
        .name(pair.host_name)
        // A container reaches its own published ports by the host's address.
        .hairpin(true);
    if pair.isolated {
        port = port.append_info_data(InfoBridgePort::Isolated(true));
    }
    port.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![no_address])).up().build()
}

/// Addresses, routes and the rest of the far end, then up.
async fn configure(netns: &Netns, interface: &Interface) -> Result<()> {
    let netlink = netns.netlink().await?;
    let name = interface.name.as_str();
    let index = link::index(&netlink, name).await?;
    netns.set_sysctls(sysctls(interface)).await?;
    for address in &interface.addresses {
        let added = add_address(&netlink, index, *address).await;
        added.map_err(Error::netlink(format!("add the address {address} to {name}")))?;
    }
    set_up(&netlink, index, name).await?;
    for route in &interface.routes {
        let added = netlink.route().add(static_route(index, route)).execute().await;
        added.map_err(Error::netlink(format!("add a route to {} by {name}", route.destination)))?;
    }
    for gateway in interface.gateways.both() {
        let added = netlink.route().add(default_route(gateway, Some(index))).execute().await;
        added.map_err(Error::netlink(format!("add the default route by {gateway} to {name}")))?;
    }
    Ok(())
}

async fn set_up(netlink: &Handle, index: u32, name: &str) -> Result<()> {
    let up = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(up).execute().await.map_err(Error::netlink(format!("set {name} up")))
}

fn sysctls(interface: &Interface) -> Vec<(String, String)> {
    let name = interface.name.as_str();
    let mut rows = Vec::new();
    if interface.addresses.iter().any(|address| address.addr().is_ipv6()) {
        rows.push((format!("net/ipv6/conf/{name}/disable_ipv6"), "0".to_owned()));
    }
    let asked = interface.sysctls.iter();
    rows.extend(asked.map(|(key, value)| (key.replace('.', "/").replace("IFNAME", name), value.clone())));
    rows
}

/// Gives the interface `present` of `netns` what [`attach`] gives the far end
/// of its pair: name, hardware address, MTU, addresses and routes; then it is
/// up. For a guest, whose interfaces are its network card and tap devices.
/// Of `interface` the near end does not count.
///
/// # Errors
/// The kernel's. On an error it may be half done, and down.
pub async fn adopt(netns: &Netns, present: &str, interface: &Interface) -> Result<()> {
    let netlink = netns.netlink().await?;
    let name = interface.name.as_str();
    let index = link::index(&netlink, present).await?;
    let ipv6 = interface.addresses.iter().any(|address| address.addr().is_ipv6());
    let down = LinkUnspec::new_with_index(index).down().build();
    let mut wanted = LinkUnspec::new_with_index(index).mtu(interface.mtu).address(interface.mac.0.to_vec());
    if present != name {
        wanted = wanted.name(name);
    }
    for message in [down, wanted.build()] {
        let set = netlink.link().set(message).execute().await;
        set.map_err(Error::netlink(format!("make {present} the interface {name}")))?;
    }
    // It was there before the namespace's defaults were set.
    let settings = crate::netns::DEFAULTS.iter().map(|(setting, value)| {
        let value = if setting.ends_with("/disable_ipv6") && ipv6 { "0" } else { *value };
        (setting.replace("/default/", &format!("/{name}/")), value.to_owned())
    });
    netns.set_sysctls(settings.collect()).await?;
    configure(netns, interface).await
}

/// Takes from the interface `name` of `netns` what [`adopt`] gave it; it is
/// called `unused` then, and down.
///
/// # Errors
/// The kernel's.
pub async fn release(netns: &Netns, name: &str, unused: &str) -> Result<()> {
    let netlink = netns.netlink().await?;
    let index = link::index(&netlink, name).await?;
    let step = || format!("take the interface {name} out of use");
    let down = LinkUnspec::new_with_index(index).down().build();
    netlink.link().set(down).execute().await.map_err(Error::netlink(step()))?;
    crate::bridge::remove_addresses(&netlink, index).await.map_err(Error::netlink(step()))?;
    let renamed = LinkUnspec::new_with_index(index).name(unused).build();
    netlink.link().set(renamed).execute().await.map_err(Error::netlink(step()))
}

/// Removes the pair by its host end, if it is there. The routes by it go with it.
///
/// # Errors
/// The kernel's; `OtherDevice` if it is no veth.
pub async fn detach(host: &Netns, host_name: &str) -> Result<()> {
    link::remove(&host.netlink().await?, host_name, &InfoKind::Veth, "a veth").await
}

/// The names of all interfaces of `host` that begin with `prefix` (`veth`),
/// with the bridge that each is on; for recovery.
///
/// # Errors
/// The kernel's.
pub async fn list(host: &Netns, prefix: &str) -> Result<Vec<(String, Option<String>)>> {
    let links = link::all(&host.netlink().await?).await?;
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let ours = links.iter().filter(|link| link.kind == Some(InfoKind::Veth) && link.name.starts_with(prefix));
    Ok(ours.map(|link| (link.name.clone(), link.controller.and_then(name))).collect())
}
