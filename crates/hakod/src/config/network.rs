//! What hakod's flags and its config file say of networks, in dockerd's words.

use super::File;
use crate::flags::Flags;
use anyhow::{Context, bail};
use hako_net::{IpNet, Ipv4Net, ipam::Pool};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};

/// An element of `default-address-pools`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolEntry {
    base: String,
    size: u8,
}

/// What networks are like that do not say it themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDefaults {
    /// Whether there is the network `bridge`.
    pub bridge: bool,
    /// The address of its bridge, with the subnet's prefix.
    pub bip: Option<Ipv4Net>,
    /// The part of its subnet that addresses are taken from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// Where other subnets come from; empty for Docker's.
    pub pools: Vec<Pool>,
    /// DNS servers of containers that name none.
    pub dns: Vec<IpAddr>,
    /// Their search domains.
    pub dns_search: Vec<String>,
    /// Their options.
    pub dns_options: Vec<String>,
    /// The largest packet of the default bridge, if not the uplink's.
    pub mtu: Option<u32>,
    /// Whether containers on the default bridge reach each other.
    pub icc: bool,
    /// Where ports are published that name no address.
    pub ip: IpAddr,
    /// Whether packets of the default bridge leave with the host's address.
    pub ip_masq: bool,
}

impl Default for NetworkDefaults {
    fn default() -> Self {
        Self {
            bridge: true,
            bip: None,
            fixed_cidr: None,
            pools: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            mtu: None,
            icc: true,
            ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ip_masq: true,
        }
    }
}

impl NetworkDefaults {
    /// A flag wins over the file.
    pub(super) fn resolve(flags: &Flags, file: &File) -> anyhow::Result<Self> {
        let text = |flag: &Option<String>, file: &Option<String>| flag.clone().or_else(|| file.clone());
        let list = |flag: &[String], file: &[String]| if flag.is_empty() { file.to_vec() } else { flag.to_vec() };
        let bridge = match text(&flags.bridge, &file.bridge).as_deref() {
            None | Some("") => true,
            Some("none") => false,
            Some(name) => bail!("bridge {name:?} is not supported: the engine makes its own; the only value is none"),
        };
        let net = |what: &str, text: Option<String>| -> anyhow::Result<Option<Ipv4Net>> {
            text.map(|text| text.parse().with_context(|| format!("{what} {text:?}"))).transpose()
        };
        let bip = net("bip", text(&flags.bip, &file.bip))?;
        let fixed_cidr = net("fixed-cidr", text(&flags.fixed_cidr, &file.fixed_cidr))?;
        if !bridge && bip.is_some() {
            bail!("You specified -b & --bip, mutually exclusive options. Please specify only one");
        }
        if let (Some(bip), Some(part)) = (bip, fixed_cidr)
            && !bip.contains(&part)
        {
            bail!("fixed-cidr {part} is not in the bridge's subnet {}", bip.trunc());
        }
        let pools = if flags.default_address_pools.is_empty() {
            file.default_address_pools
                .iter()
                .map(|entry| pool(&entry.base, entry.size))
                .collect::<anyhow::Result<_>>()?
        } else {
            flags.default_address_pools.iter().map(|text| pool_flag(text)).collect::<anyhow::Result<_>>()?
        };
        let dns = list(&flags.dns, &file.dns);
        let dns = dns.iter().map(|ip| ip.parse().with_context(|| format!("dns {ip:?} is no IP address")));
        let ip = text(&flags.ip, &file.ip).map(|ip| ip.parse().with_context(|| format!("ip {ip:?}"))).transpose()?;
        Ok(Self {
            bridge,
            bip,
            fixed_cidr,
            pools,
            dns: dns.collect::<anyhow::Result<_>>()?,
            dns_search: list(&flags.dns_search, &file.dns_search),
            dns_options: list(&flags.dns_opts, &file.dns_opts),
            mtu: flags.mtu.or(file.mtu).filter(|mtu| *mtu != 0),
            icc: flags.icc.or(file.icc).unwrap_or(true),
            ip: ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            ip_masq: flags.ip_masq.or(file.ip_masq).unwrap_or(true),
        })
    }
}

/// `base=10.0.0.0/8,size=24`.
fn pool_flag(text: &str) -> anyhow::Result<Pool> {
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(value),
            Some(("size", value)) => size = Some(value),
            _ => bail!("default-address-pool {text:?} is not base=CIDR,size=N"),
        }
    }
    let (Some(base), Some(size)) = (base, size) else {
        bail!("default-address-pool {text:?} is not base=CIDR,size=N");
    };
    pool(base, size.parse().with_context(|| format!("size of default-address-pool {text:?}"))?)
}

fn pool(base: &str, size: u8) -> anyhow::Result<Pool> {
    let net: IpNet = base.parse().with_context(|| format!("default-address-pool {base:?}"))?;
    if size < net.prefix_len() || size > net.max_prefix_len() {
        bail!("invalid pool request: a piece of {size} bits does not fit into {net}");
    }
    Ok(Pool { base: net.trunc(), size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn resolve(args: &[&str]) -> anyhow::Result<NetworkDefaults> {
        let flags = Flags::parse_from([&["hakod"], args].concat());
        NetworkDefaults::resolve(&flags, &File::default())
    }

    #[test]
    fn flags() {
        assert_eq!(resolve(&[]).unwrap(), NetworkDefaults::default());
        assert!(!resolve(&["--bridge=none"]).unwrap().bridge);
        let all = resolve(&["--bip=10.9.0.1/24", "--fixed-cidr=10.9.0.128/25", "--icc=false", "--ip=127.0.0.1"]);
        let all = all.unwrap();
        assert_eq!(all.bip.unwrap().addr(), Ipv4Addr::new(10, 9, 0, 1));
        assert!(!all.icc && all.ip.is_loopback());
        let pools = resolve(&["--default-address-pool", "base=10.1.0.0/16,size=24"]).unwrap().pools;
        assert_eq!(pools, [Pool { base: "10.1.0.0/16".parse().unwrap(), size: 24 }]);
    }

    #[test]
    fn what_makes_no_sense() {
        for args in [
            &["--bridge=br7"][..],
            &["--bip=10.9.0.1"],
            &["--bip=10.9.0.1/24", "--bridge=none"],
            &["--bip=10.9.0.1/24", "--fixed-cidr=10.8.0.0/25"],
            &["--default-address-pool=10.0.0.0/8"],
            &["--default-address-pool=base=10.1.0.0/16,size=8"],
            &["--dns=nonsense"],
        ] {
            assert!(resolve(args).is_err(), "{args:?}");
        }
    }
}
