//! Which subnet a network gets, and which address an interface. Pure: the
//! caller keeps what is in use, durably, and passes it.

use crate::{Error, IpNet, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Addresses to make subnets of: `default-address-pools`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of them.
    pub base: IpNet,
    /// The prefix length of each subnet.
    pub size: u8,
}

/// Docker's: 172.17.0.0/16 to 172.31.0.0/16, and 192.168.0.0/16 in twenties.
#[must_use]
pub fn default_pools() -> Vec<Pool> {
    Vec::new()
}

/// A network's addresses of one family (`IPAM.Config`'s entry).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All of them.
    pub subnet: IpNet,
    /// Where automatic addresses are taken from; the whole subnet if there is none.
    pub ip_range: Option<IpNet>,
    /// The bridge's.
    pub gateway: IpAddr,
    /// Addresses that others have, by name: never given automatically.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl Subnet {
    /// A checked subnet; the gateway is its first address (of the range, if there is one) if none is given.
    ///
    /// # Errors
    /// `InvalidSubnet`, in Docker's words where it has some.
    pub fn new(
        subnet: IpNet,
        ip_range: Option<IpNet>,
        gateway: Option<IpAddr>,
        auxiliary: BTreeMap<String, IpAddr>,
    ) -> Result<Self> {
        let _ = (subnet, ip_range, gateway, auxiliary);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// Whether `address` may be asked for by name: in the subnet, and not its
    /// network's, broadcast's or gateway's.
    ///
    /// # Errors
    /// `OutOfRange`, or `AddressInUse` for one in `used` or the gateway's.
    pub fn fixed(&self, address: IpAddr, used: &BTreeSet<IpAddr>) -> Result<()> {
        let _ = (address, used);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// The lowest free address above `after`, and from the beginning again;
    /// `None` for the lowest free one, as Docker gives it.
    ///
    /// # Errors
    /// `NoAddress`.
    pub fn allocate(&self, used: &BTreeSet<IpAddr>, after: Option<IpAddr>) -> Result<IpAddr> {
        let _ = (used, after);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// `address` with the subnet's prefix length.
    #[must_use]
    pub fn with_prefix(&self, address: IpAddr) -> IpNet {
        IpNet::new_assert(address, self.subnet.prefix_len())
    }
}

/// The first subnet of `pools`, of IPv6 if `v6`, that overlaps nothing in `taken`.
///
/// # Errors
/// `NoPool`.
pub fn pick_subnet(pools: &[Pool], v6: bool, taken: &[IpNet]) -> Result<IpNet> {
    let _ = (pools, v6, taken);
    Err(Error::NoPool)
}

/// A pool of ULA subnets of this installation (`fd00::/8`, 40 bits from `seed`,
/// /64 each), for networks with IPv6 and no subnet of their own.
#[must_use]
pub fn ula_pool(seed: &[u8]) -> Pool {
    let _ = seed;
    Pool { base: IpNet::new_assert(IpAddr::from([0xfd00_u16, 0, 0, 0, 0, 0, 0, 0]), 48), size: 64 }
}

/// Whether `subnet` overlaps one of `taken`.
///
/// # Errors
/// `Overlap`.
pub fn check_overlap(subnet: IpNet, taken: &[IpNet]) -> Result<()> {
    let _ = (subnet, taken);
    Ok(())
}
