//! Host ports of published ones: held by sockets of this process, so that a
//! taken port is an error before a container starts and nobody takes it later.
//!
//! A socket also serves what packet rules cannot do: a client on `[::1]`, and a
//! host address of IPv6 for a container that has IPv4 only. Its connections
//! are relayed to the container, in this process.

use crate::{Error, Netns, Result, firewall::PublishedPort};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, where the kernel has it.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(format!("invalid proto: {text}")),
        }
    }
}

/// One port that is to be published (`PortBindings`' entry).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// Of both ports.
    pub protocol: Protocol,
    /// The container's port.
    pub container_port: u16,
    /// Where; `None` is every address of both families.
    pub host_ip: Option<IpAddr>,
    /// Which; `0..=0` is any free one, a range the first free one of it.
    pub host_ports: RangeInclusive<u16>,
}

/// Where ports lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The container's IPv4 address.
    pub v4: Option<std::net::Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<std::net::Ipv6Addr>,
    /// The bridge of the network that they are on.
    pub bridge: String,
}

/// A port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Somebody has it. Docker's words.
    #[error("failed to bind host port for {host}:{container}/{protocol}: address already in use")]
    InUse {
        /// Where.
        host: SocketAddr,
        /// Where it was to lead to.
        container: SocketAddr,
        /// The protocol.
        protocol: Protocol,
    },
    /// The kernel refused for another reason.
    #[error("failed to bind host port for {host}:{container}/{protocol}: {reason}")]
    Refused {
        /// Where.
        host: SocketAddr,
        /// Where it was to lead to.
        container: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// The kernel's words.
        reason: String,
    },
    /// Every port of the range, or of all, is taken.
    #[error("all ports are allocated")]
    AllTaken,
}

/// Host ports that are ours while this lives.
#[derive(Debug)]
pub struct Reserved {
    bound: Vec<Bound>,
}

/// One reserved port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Of both ports.
    pub protocol: Protocol,
    /// Where: for a request of every address there is one of each family.
    pub host: SocketAddr,
    /// The container's port.
    pub container_port: u16,
}

impl Reserved {
    /// Binds all of `requests`, or none. A request without a port gets the same
    /// one in both families. Where `host` has no IPv6, a request of every
    /// address is one of IPv4. Relays to `target` begin at once.
    ///
    /// # Errors
    /// `Port`; `Unsupported` for SCTP in a kernel without it.
    pub async fn bind(host: &Netns, requests: &[PortRequest], target: &Target) -> Result<Self> {
        let _ = (host, requests, target);
        Err(Error::Unsupported("not built yet".to_owned()))
    }
    /// What was bound, in the order of the requests, IPv4 first: `NetworkSettings.Ports`.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }
    /// The part of it that packet rules do: for [`crate::Firewall::publish`].
    #[must_use]
    pub fn published(&self) -> Vec<PublishedPort> {
        Vec::new()
    }
}
