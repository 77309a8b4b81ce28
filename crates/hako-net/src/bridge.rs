//! Bridges: one for each network.

use crate::{Error, IpNet, Mac, Netns, Result};
use serde::{Deserialize, Serialize};

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
    let _ = (host, bridge);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Removes the bridge `name`, if it is there. Interfaces on it lose their master.
///
/// # Errors
/// The kernel's; `OtherDevice` if `name` is no bridge.
pub async fn remove(host: &Netns, name: &str) -> Result<()> {
    let _ = (host, name);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// The names of all bridges that begin with `prefix`, for recovery.
///
/// # Errors
/// The kernel's.
pub async fn list(host: &Netns, prefix: &str) -> Result<Vec<String>> {
    let _ = (host, prefix);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// The MTU of the interface of the default route; `None` without one.
///
/// # Errors
/// The kernel's.
pub async fn uplink_mtu(host: &Netns) -> Result<Option<u32>> {
    let _ = host;
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Every subnet that an interface has an address in or a route leads to, but
/// the default route; what a new network must not overlap. `except` names
/// bridges that do not count (our own, whose subnets the caller knows).
///
/// # Errors
/// The kernel's.
pub async fn subnets_in_use(host: &Netns, except: &[String]) -> Result<Vec<IpNet>> {
    let _ = (host, except);
    Err(Error::Unsupported("not built yet".to_owned()))
}

/// Turns on forwarding of IPv4, and with `ipv6` of IPv6 (keeping what router
/// advertisements give the uplink). Returns whether it was off: then the host
/// was no router, and [`crate::firewall::Model::drop_others`] keeps it from becoming
/// one; the caller remembers that for as long as the host is up.
///
/// # Errors
/// The kernel's.
pub async fn enable_forwarding(host: &Netns, ipv6: bool) -> Result<bool> {
    let _ = (host, ipv6);
    Err(Error::Unsupported("not built yet".to_owned()))
}
