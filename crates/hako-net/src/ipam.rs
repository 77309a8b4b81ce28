//! Which subnet a network gets, and which address an interface. Pure: the
//! caller keeps what is in use, durably, and passes it.

use crate::{Error, IpNet, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

#[cfg(test)]
mod tests;

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
    let pool = |second: u8, third: u8, size| Pool {
        base: IpNet::new_assert(Ipv4Addr::new(second, third, 0, 0).into(), 16),
        size,
    };
    (17..=31).map(|third| pool(172, third, 16)).chain([pool(192, 168, 20)]).collect()
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
    /// A checked subnet; the gateway is its first free address (of the range, if there is one) if none is given.
    ///
    /// # Errors
    /// `InvalidSubnet`, in Docker's words where it has some; `NoAddress` if there is none for a gateway.
    pub fn new(
        subnet: IpNet,
        ip_range: Option<IpNet>,
        gateway: Option<IpAddr>,
        auxiliary: BTreeMap<String, IpAddr>,
    ) -> Result<Self> {
        let wrong = |text: String| Err(Error::InvalidSubnet(text));
        if subnet.trunc() != subnet {
            return wrong(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
        }
        if let Some(range) = ip_range {
            if !subnet.contains(&range.network()) || range.prefix_len() < subnet.prefix_len() {
                return wrong(format!("no matching subnet for range {range}"));
            }
            if range.trunc() != range {
                return wrong(format!("invalid ip-range {range}: it should be {}", range.trunc()));
            }
        }
        if let Some(outside) = auxiliary.values().find(|address| !subnet.contains(*address)) {
            return wrong(format!("no matching subnet for aux-address {outside}"));
        }
        if let Some(outside) = gateway.filter(|address| !subnet.contains(address)) {
            return wrong(format!("no matching subnet for gateway {outside}"));
        }
        // Until it is known, the gateway is an address that is none of this subnet's.
        let none = if subnet.addr().is_ipv4() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut made = Self { subnet, ip_range, gateway: gateway.unwrap_or(none), auxiliary };
        if gateway.is_none() {
            made.gateway = made.allocate(&BTreeSet::new(), None)?;
        }
        Ok(made)
    }

    /// Whether `address` may be asked for by name: in the subnet, and not its
    /// network's, broadcast's or gateway's.
    ///
    /// # Errors
    /// `OutOfRange`, or `AddressInUse` for one in `used` or the gateway's.
    pub fn fixed(&self, address: IpAddr, used: &BTreeSet<IpAddr>) -> Result<()> {
        if !self.subnet.contains(&address) {
            return Err(Error::OutOfRange(address));
        }
        if !self.is_host(address) || address == self.gateway || used.contains(&address) {
            return Err(Error::AddressInUse(address));
        }
        Ok(())
    }

    /// The lowest free address above `after`, and from the beginning again;
    /// `None` for the lowest free one, as Docker gives it.
    ///
    /// # Errors
    /// `NoAddress`.
    pub fn allocate(&self, used: &BTreeSet<IpAddr>, after: Option<IpAddr>) -> Result<IpAddr> {
        let range = self.ip_range.unwrap_or(self.subnet);
        let (first, last) = (number(range.network()), number(range.broadcast()));
        let start = after.map(number).filter(|after| (first..last).contains(after)).map_or(first, |after| after + 1);
        self.lowest(start, last, used)
            .or_else(|| if start > first { self.lowest(first, start - 1, used) } else { None })
            .ok_or(Error::NoAddress(self.subnet))
    }

    /// Goes on as long as addresses are taken, so at most for as many steps as there are taken ones.
    fn lowest(&self, first: u128, last: u128, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let mut candidate = first;
        loop {
            let found = address(candidate, self.subnet.addr());
            let taken = |address: &IpAddr| used.contains(address) || self.auxiliary.values().any(|aux| aux == address);
            if self.is_host(found) && found != self.gateway && !taken(&found) {
                return Some(found);
            }
            if candidate == last {
                return None;
            }
            candidate += 1;
        }
    }

    /// Neither the subnet's own address nor its broadcast address. Subnets of
    /// two addresses and of one have neither.
    fn is_host(&self, address: IpAddr) -> bool {
        let bits = self.subnet.max_prefix_len() - self.subnet.prefix_len();
        let broadcast = self.subnet.addr().is_ipv4() && address == self.subnet.broadcast();
        bits < 2 || (address != self.subnet.network() && !broadcast)
    }

    /// `address` with the subnet's prefix length.
    #[must_use]
    pub fn with_prefix(&self, address: IpAddr) -> IpNet {
        // Never longer than the family has bits: the subnet was made of one of its addresses.
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or_else(|_| IpNet::from(address))
    }
}

/// The first subnet of `pools`, of IPv6 if `v6`, that overlaps nothing in `taken`.
///
/// # Errors
/// `NoPool`.
pub fn pick_subnet(pools: &[Pool], v6: bool, taken: &[IpNet]) -> Result<IpNet> {
    let of_family = pools.iter().filter(|pool| pool.base.addr().is_ipv6() == v6);
    let mut subnets = of_family.filter_map(|pool| pool.base.trunc().subnets(pool.size).ok()).flatten();
    subnets.find(|subnet| check_overlap(*subnet, taken).is_ok()).ok_or(Error::NoPool)
}

/// A pool of ULA subnets of this installation (`fd00::/8`, 40 bits from `seed`,
/// /64 each), for networks with IPv6 and no subnet of their own.
#[must_use]
pub fn ula_pool(seed: &[u8]) -> Pool {
    let hash = Sha256::digest(seed);
    let mut octets = [0_u8; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&hash[..5]);
    Pool { base: IpNet::new_assert(IpAddr::V6(Ipv6Addr::from(octets)), 48), size: 64 }
}

/// Whether `subnet` overlaps one of `taken`.
///
/// # Errors
/// `Overlap`.
pub fn check_overlap(subnet: IpNet, taken: &[IpNet]) -> Result<()> {
    // Two subnets share an address exactly if one holds the other.
    let overlaps = |other: &IpNet| subnet.contains(&other.network()) || other.contains(&subnet.network());
    if taken.iter().any(overlaps) { Err(Error::Overlap) } else { Ok(()) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The reverse, of the same family as `like`.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        // Never more than 32 bits: it was counted from an address up to a broadcast address.
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}
