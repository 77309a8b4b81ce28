//! Bridges: one for each network.

use crate::{Error, IpNet, Mac, Netns, Result, link};
use futures::TryStreamExt;
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
        link::InfoKind,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A bridge as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The interface's name, at most 15 bytes (`br-<12 hex>`).
    pub name: String,
    /// The gateways, with their network's prefix length; of IPv4 at most one, of IPv6 any number.
    /// A bridge without an IPv6 address has IPv6 turned off.
    pub addresses: Vec<IpNet>,
    /// What the bridge and its interfaces carry.
    pub mtu: u32,
    /// A fixed hardware address; random, and kept, if there is none.
    pub mac: Option<Mac>,
}

/// Makes `bridge` or repairs it: addresses, MTU, sysctls, up. Addresses that
/// it has and should not are removed; interfaces on it stay.
///
/// # Errors
/// The kernel's; `OtherDevice` if the name is taken by something else.
pub async fn ensure(host: &Netns, bridge: &Bridge) -> Result<()> {
    let netlink = host.netlink().await?;
    let name = bridge.name.as_str();
    let index = match link::find(&netlink, name).await? {
        Some(found) if found.kind != Some(InfoKind::Bridge) => {
            return Err(Error::OtherDevice { name: name.to_owned(), expected: "a bridge" });
        }
        Some(found) => {
            repair(&netlink, bridge, &found).await?;
            found.index
        }
        None => {
            // Set, not left to the kernel: it would follow the interfaces that come and go.
            let mac = bridge.mac.unwrap_or_else(|| Mac::from_random(rand::random()));
            let message = LinkBridge::new(name).down().mtu(bridge.mtu).address(mac.0.to_vec()).build();
            let made = netlink.link().add(message).execute().await;
            made.map_err(Error::netlink(format!("make the bridge {name}")))?;
            link::index(&netlink, name).await?
        }
    };
    host.set_sysctls(sysctls(bridge)).await?;
    addresses(&netlink, index, bridge).await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    netlink.link().set(up).execute().await.map_err(Error::netlink(format!("set {name} up")))
}

/// What Docker sets, before the bridge is up.
fn sysctls(bridge: &Bridge) -> Vec<(String, String)> {
    let name = bridge.name.as_str();
    let ipv6 = bridge.addresses.iter().any(|address| address.addr().is_ipv6());
    let row = |name: String, value: &str| (name, value.to_owned());
    vec![
        // Ports that are published on 127.0.0.1 lead here; the firewall drops
        // what comes the other way.
        row(format!("net/ipv4/conf/{name}/route_localnet"), "1"),
        row(format!("net/ipv6/conf/{name}/accept_ra"), "0"),
        row(format!("net/ipv6/conf/{name}/accept_redirects"), "0"),
        row(format!("net/ipv6/conf/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" }),
    ]
}

async fn repair(netlink: &Handle, bridge: &Bridge, found: &link::Link) -> Result<()> {
    let mut wanted = LinkUnspec::new_with_index(found.index);
    let mut differs = false;
    if found.mtu != bridge.mtu {
        wanted = wanted.mtu(bridge.mtu);
        differs = true;
    }
    if let Some(mac) = bridge.mac.filter(|mac| mac.0[..] != found.address[..]) {
        wanted = wanted.address(mac.0.to_vec());
        differs = true;
    }
    if !differs {
        return Ok(());
    }
    let set = netlink.link().set(wanted.build()).execute().await;
    set.map_err(Error::netlink(format!("repair the bridge {}", bridge.name)))
}

/// Gives the bridge its addresses and takes others away.
async fn addresses(netlink: &Handle, index: u32, bridge: &Bridge) -> Result<()> {
    let step = |what: &str| format!("{what} of {}", bridge.name);
    let present: Vec<AddressMessage> = netlink
        .address()
        .get()
        .set_link_index_filter(index)
        .execute()
        .try_collect()
        .await
        .map_err(Error::netlink(step("list the addresses")))?;
    let mut missing = bridge.addresses.clone();
    for message in present {
        let Some(address) = net_of(&message) else { continue };
        if let Some(known) = missing.iter().position(|wanted| *wanted == address) {
            missing.swap_remove(known);
        } else if !is_link_local(address.addr()) {
            let removed = netlink.address().del(message).execute().await;
            removed.map_err(Error::netlink(step(&format!("remove the address {address}"))))?;
        }
    }
    for address in missing {
        add_address(netlink, index, address)
            .await
            .map_err(Error::netlink(step(&format!("add the address {address}"))))?;
    }
    Ok(())
}

/// Adds one address. Of IPv6 it is usable at once: the engine gives none twice,
/// so nobody need be asked for it.
pub(crate) async fn add_address(
    netlink: &Handle,
    index: u32,
    address: IpNet,
) -> std::result::Result<(), rtnetlink::Error> {
    let mut request = netlink.address().add(index, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await
}

/// Takes all addresses from an interface.
pub(crate) async fn remove_addresses(netlink: &Handle, index: u32) -> std::result::Result<(), rtnetlink::Error> {
    let present: Vec<AddressMessage> =
        netlink.address().get().set_link_index_filter(index).execute().try_collect().await?;
    for message in present {
        netlink.address().del(message).execute().await?;
    }
    Ok(())
}

fn net_of(message: &AddressMessage) -> Option<IpNet> {
    // On a link that is no point-to-point one, both say the same.
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) | AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Removes the bridge `name`, if it is there. Interfaces on it lose their master.
///
/// # Errors
/// The kernel's; `OtherDevice` if `name` is no bridge.
pub async fn remove(host: &Netns, name: &str) -> Result<()> {
    link::remove(&host.netlink().await?, name, &InfoKind::Bridge, "a bridge").await
}

/// The names of all bridges that begin with `prefix`, for recovery.
///
/// # Errors
/// The kernel's.
pub async fn list(host: &Netns, prefix: &str) -> Result<Vec<String>> {
    let links = link::all(&host.netlink().await?).await?;
    let ours = |link: &link::Link| link.kind == Some(InfoKind::Bridge) && link.name.starts_with(prefix);
    Ok(links.into_iter().filter(ours).map(|link| link.name).collect())
}

/// The MTU of the interface of the default route; `None` without one.
///
/// # Errors
/// The kernel's.
pub async fn uplink_mtu(host: &Netns) -> Result<Option<u32>> {
    let netlink = host.netlink().await?;
    // Of several the one that packets take: the lowest metric.
    let metric = |route: &&RouteMessage| {
        let metric = |attribute: &RouteAttribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        };
        route.attributes.iter().find_map(metric).unwrap_or(0)
    };
    for v6 in [false, true] {
        let routes = routes(&netlink, v6).await?;
        let Some(route) = routes.iter().filter(|route| is_default(route)).min_by_key(metric) else { continue };
        let Some(index) = interface_of(route) else { continue };
        let links = link::all(&netlink).await?;
        if let Some(link) = links.iter().find(|link| link.index == index) {
            return Ok(Some(link.mtu));
        }
    }
    Ok(None)
}

/// Every subnet that an interface has an address in or a route leads to, but
/// the default route; what a new network must not overlap. `except` names
/// bridges that do not count (our own, whose subnets the caller knows).
///
/// # Errors
/// The kernel's.
pub async fn subnets_in_use(host: &Netns, except: &[String]) -> Result<Vec<IpNet>> {
    let netlink = host.netlink().await?;
    let links = link::all(&netlink).await?;
    let skip: Vec<u32> = links.iter().filter(|link| except.contains(&link.name)).map(|link| link.index).collect();
    let mut found = Vec::new();
    let addresses: Vec<AddressMessage> =
        netlink.address().get().execute().try_collect().await.map_err(Error::netlink("list the addresses"))?;
    for message in addresses.iter().filter(|message| !skip.contains(&message.header.index)) {
        found.extend(net_of(message).map(|net| net.trunc()));
    }
    for v6 in [false, true] {
        for route in routes(&netlink, v6).await? {
            let counts = is_unicast(&route) && interface_of(&route).is_none_or(|index| !skip.contains(&index));
            if counts && route.header.destination_prefix_length > 0 {
                found.extend(destination(&route));
            }
        }
    }
    found.retain(|net| !is_link_local(net.addr()) && !net.addr().is_loopback());
    found.sort();
    found.dedup();
    Ok(found)
}

pub(crate) fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && is_unicast(route)
}

pub(crate) async fn routes(netlink: &Handle, v6: bool) -> Result<Vec<RouteMessage>> {
    let filter = if v6 {
        RouteMessageBuilder::<Ipv6Addr>::new().build()
    } else {
        RouteMessageBuilder::<Ipv4Addr>::new().build()
    };
    netlink.route().get(filter).execute().try_collect().await.map_err(Error::netlink("list the routes"))
}

/// Local and broadcast routes are about addresses, which are listed by themselves.
fn is_unicast(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Unicast
}

fn interface_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    IpNet::new(address, route.header.destination_prefix_length).ok().map(|net| net.trunc())
}

/// Turns on forwarding of IPv4, and with `ipv6` of IPv6 (keeping what router
/// advertisements give the uplink). Returns whether it was off: then the host
/// was no router, and [`crate::firewall::Model::drop_others`] keeps it from becoming
/// one; the caller remembers that for as long as the host is up.
///
/// # Errors
/// The kernel's.
pub async fn enable_forwarding(host: &Netns, ipv6: bool) -> Result<bool> {
    let mut was_off = false;
    if host.sysctl(FORWARD_V4).await? == "0" {
        host.set_sysctl(FORWARD_V4, "1").await?;
        was_off = true;
    }
    if ipv6 && host.sysctl(FORWARD_V6).await? == "0" {
        // A router ignores advertisements, unless it is told not to.
        for link in link::all(&host.netlink().await?).await? {
            let name = format!("net/ipv6/conf/{}/accept_ra", link.name);
            // An interface without IPv6 has no such file.
            if host.sysctl(&name).await.is_ok_and(|value| value == "1") {
                host.set_sysctl(&name, "2").await?;
            }
        }
        host.set_sysctl(FORWARD_V6, "1").await?;
        was_off = true;
    }
    Ok(was_off)
}

const FORWARD_V4: &str = "net/ipv4/ip_forward";
const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";
