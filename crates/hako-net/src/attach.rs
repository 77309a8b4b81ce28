//! Interfaces of containers: a veth pair from a bridge into a namespace.
//!
//! Behind the hyperv wall the namespace's end has no address. A tap device in
//! the same namespace is joined to it by tc, and the guest behind the tap has
//! the addresses:
//!
//! ```text
//! bridge ─ veth<7hex> ═══ <name> ⇄ mirred ⇄ <tap> ─ QEMU
//! ```

use crate::{Error, IpNet, Mac, Netns, Result};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
}

/// Makes the pair and all that belongs to it. Usable while processes run in
/// `netns`. A pair of that host name, left from before a crash, is replaced.
///
/// # Errors
/// The kernel's. On an error nothing is left behind.
pub async fn attach(host: &Netns, netns: &Netns, interface: &Interface) -> Result<()> {
    let _ = (host, netns, interface);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// As [`attach`], with a tap device in the namespace in place of addresses.
///
/// # Errors
/// The kernel's. On an error nothing is left behind.
pub async fn attach_tap(host: &Netns, netns: &Netns, interface: &TapInterface) -> Result<()> {
    let _ = (host, netns, interface);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Removes the pair by its host end, if it is there. The routes by it go with it.
///
/// # Errors
/// The kernel's.
pub async fn detach(host: &Netns, host_name: &str) -> Result<()> {
    let _ = (host, host_name);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Removes the tap device `tap` of `netns`, if it is there (after [`detach`]).
///
/// # Errors
/// The kernel's.
pub async fn detach_tap(netns: &Netns, tap: &str) -> Result<()> {
    let _ = (netns, tap);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Makes `gateways` the default routes of `netns`; `None` removes that
/// family's. For connect and disconnect, which may change which network leads
/// outside.
///
/// # Errors
/// The kernel's.
pub async fn set_gateways(netns: &Netns, gateways: Gateways) -> Result<()> {
    let _ = (netns, gateways);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// The names of all interfaces of `host` that begin with `prefix` (`veth`),
/// with the bridge that each is on; for recovery.
///
/// # Errors
/// The kernel's.
pub async fn list(host: &Netns, prefix: &str) -> Result<Vec<(String, Option<String>)>> {
    let _ = (host, prefix);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Bytes received, packets, errors and the like of the interfaces in `netns`
/// but `lo`, from `/proc/net/dev`'s counters; for `stats`.
///
/// # Errors
/// The kernel's.
pub async fn counters(netns: &Netns) -> Result<Vec<Counters>> {
    let _ = netns;
    Err(Error::Unsupported("not built yet".to_owned()))
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
