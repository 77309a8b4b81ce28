//! Interfaces of containers: a veth pair from a bridge into a namespace.
//!
//! Behind the hyperv wall the namespace's end has no address. A tap device in
//! the same namespace is joined to it by tc, and the guest behind the tap has
//! the addresses:
//!
//! ```text
//! bridge ─ veth<7hex> ═══ <name> ⇄ mirred ⇄ <tap> ─ QEMU
//! ```

use crate::{Error, IpNet, Mac, Netns, Result, bridge::add_address, link};
use hako_os::tap;
use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{
            AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoVeth, LinkAttribute,
            LinkMessage,
        },
        route::{RouteMessage, RouteScope},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

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

/// Default routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// Of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By whom; on the link itself if there is none.
    pub gateway: Option<IpAddr>,
}

/// The same pair without addresses, joined to a tap device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapInterface {
    /// The end on the bridge: `veth<7 hex>`.
    pub host_name: String,
    /// The bridge that it is put on.
    pub bridge: String,
    /// The end in the namespace: `veth<n>`.
    pub name: String,
    /// The tap device in the namespace: `tap<n>`. It is persistent and QEMU opens it by this name.
    pub tap: String,
    /// As the bridge's.
    pub mtu: u32,
    /// Whether it reaches only the bridge itself, none of the others on it (no `enable_icc`).
    #[serde(default)]
    pub isolated: bool,
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

/// As [`attach`], with a tap device in the namespace in place of addresses.
///
/// # Errors
/// The kernel's. On an error nothing is left behind.
pub async fn attach_tap(host: &Netns, netns: &Netns, interface: &TapInterface) -> Result<()> {
    let pair = Pair {
        host_name: &interface.host_name,
        bridge: &interface.bridge,
        name: &interface.name,
        mac: Mac::from_random(rand::random()),
        mtu: interface.mtu,
        isolated: interface.isolated,
    };
    make(host, netns, &pair).await?;
    let joined = join(netns, interface).await;
    if joined.is_err() {
        // What went wrong is said already.
        let _ = detach_tap(netns, &interface.tap).await;
    }
    undo_on_error(joined, host, pair.host_name).await
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

fn default_route(gateway: IpAddr, index: Option<u32>) -> RouteMessage {
    // The address of one family with the builder of that family.
    match gateway {
        IpAddr::V4(gateway) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway);
            index.into_iter().fold(route, RouteMessageBuilder::output_interface).build()
        }
        IpAddr::V6(gateway) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway);
            index.into_iter().fold(route, RouteMessageBuilder::output_interface).build()
        }
    }
}

fn static_route(index: u32, route: &Route) -> RouteMessage {
    let length = route.destination.prefix_len();
    let mut message = match route.destination.network() {
        IpAddr::V4(destination) => {
            let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, length);
            match route.gateway {
                Some(IpAddr::V4(gateway)) => message.gateway(gateway),
                _ => message.scope(RouteScope::Link),
            }
            .output_interface(index)
            .build()
        }
        IpAddr::V6(destination) => {
            let message = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(destination, length);
            match route.gateway {
                Some(IpAddr::V6(gateway)) => message.gateway(gateway),
                _ => message,
            }
            .output_interface(index)
            .build()
        }
    };
    message.header.destination_prefix_length = length;
    message
}

/// The tap device, and everything from one interface to the other, both ways.
async fn join(netns: &Netns, interface: &TapInterface) -> Result<()> {
    let tap = interface.tap.clone();
    netns
        .run_quick(move || tap::create(&tap))
        .await?
        .map_err(|err| Error::io(format!("make the tap device {}", interface.tap), err))?;
    let netlink = netns.netlink().await?;
    let tap = link::index(&netlink, &interface.tap).await?;
    let veth = link::index(&netlink, &interface.name).await?;
    let mtu = LinkUnspec::new_with_index(tap).mtu(interface.mtu).build();
    let set = netlink.link().set(mtu).execute().await;
    set.map_err(Error::netlink(format!("set the MTU of {}", interface.tap)))?;
    for (from, to) in [(veth, tap), (tap, veth)] {
        redirect(&netlink, from, to)
            .await
            .map_err(Error::netlink(format!("join {} and {}", interface.name, interface.tap)))?;
    }
    set_up(&netlink, tap, &interface.tap).await?;
    set_up(&netlink, veth, &interface.name).await
}

/// What comes in at `from` goes out at `to`.
async fn redirect(netlink: &Handle, from: u32, to: u32) -> std::result::Result<(), rtnetlink::Error> {
    /// `ETH_P_ALL`, in network byte order.
    const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();
    /// The ingress qdisc's handle.
    const INGRESS: u32 = 0xffff_0000;
    let from = from.cast_signed();
    netlink.qdisc().add(from).ingress().execute().await?;
    let filter = netlink.traffic_filter(from).add().parent(INGRESS).protocol(EVERY_PROTOCOL);
    filter.redirect(to)?.execute().await
}

/// Removes the pair by its host end, if it is there. The routes by it go with it.
///
/// # Errors
/// The kernel's; `OtherDevice` if it is no veth.
pub async fn detach(host: &Netns, host_name: &str) -> Result<()> {
    link::remove(&host.netlink().await?, host_name, &InfoKind::Veth, "a veth").await
}

/// Removes the tap device `tap` of `netns`, if it is there (after [`detach`]).
///
/// # Errors
/// The kernel's; `OtherDevice` if it is none.
pub async fn detach_tap(netns: &Netns, tap: &str) -> Result<()> {
    link::remove(&netns.netlink().await?, tap, &InfoKind::Tun, "a tap device").await
}

impl Gateways {
    fn both(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// Makes `gateways` the default routes of `netns`; `None` removes that
/// family's. For connect and disconnect, which may change which network leads
/// outside.
///
/// # Errors
/// The kernel's.
pub async fn set_gateways(netns: &Netns, gateways: Gateways) -> Result<()> {
    let netlink = netns.netlink().await?;
    for (gateway, v6) in [(gateways.v4.map(IpAddr::V4), false), (gateways.v6.map(IpAddr::V6), true)] {
        match gateway {
            Some(gateway) => {
                let replaced = netlink.route().add(default_route(gateway, None)).replace().execute().await;
                replaced.map_err(Error::netlink(format!("set the default route by {gateway}")))?;
            }
            None => remove_default(&netlink, v6).await?,
        }
    }
    Ok(())
}

async fn remove_default(netlink: &Handle, v6: bool) -> Result<()> {
    for route in crate::bridge::routes(netlink, v6).await? {
        if crate::bridge::is_default(&route) {
            let removed = netlink.route().del(route).execute().await;
            match removed.map_err(Error::netlink("remove the default route")) {
                Err(err) if err.is(nix::Error::ESRCH) => {}
                removed => removed?,
            }
        }
    }
    Ok(())
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

/// What the interfaces in `netns` but `lo` have carried; for `stats`. A tap
/// device counts the other way round: what it receives a guest has sent.
///
/// # Errors
/// The kernel's.
pub async fn counters(netns: &Netns) -> Result<Vec<Counters>> {
    let links = link::all(&netns.netlink().await?).await?;
    Ok(links.iter().filter(|link| link.name != "lo").map(counters_of).collect())
}

fn counters_of(link: &link::Link) -> Counters {
    let stats = link.message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(stats),
        _ => None,
    });
    let Some(stats) = stats else { return Counters { name: link.name.clone(), ..Counters::default() } };
    Counters {
        name: link.name.clone(),
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        rx_errors: stats.rx_errors,
        rx_dropped: stats.rx_dropped,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
        tx_errors: stats.tx_errors,
        tx_dropped: stats.tx_dropped,
    }
}

/// What one interface has carried, as seen from its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The interface.
    pub name: String,
    /// Bytes in.
    pub rx_bytes: u64,
    /// Packets in.
    pub rx_packets: u64,
    /// Damaged packets in.
    pub rx_errors: u64,
    /// Packets in that were dropped.
    pub rx_dropped: u64,
    /// Bytes out.
    pub tx_bytes: u64,
    /// Packets out.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets out that were dropped.
    pub tx_dropped: u64,
}
