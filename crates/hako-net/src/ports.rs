//! Host ports of published ones: held by sockets of this process, so that a
//! taken port is an error before a container starts and nobody takes it later.
//!
//! A socket also serves what packet rules cannot do: a client on `[::1]`, and a
//! host address of IPv6 for a container that has IPv4 only. Its connections
//! are relayed to the container, in this process.

mod relay;
mod socket;

use crate::{Error, Netns, Result, firewall::PublishedPort};
use serde::{Deserialize, Serialize};
use socket2::Socket;
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};
use tokio::task::AbortHandle;

/// How often another free port is tried, where any will do.
const EPHEMERAL_TRIES: u32 = 64;
/// A socket that was just dropped, here or by another process, closes a moment later.
const CLOSING: Duration = Duration::from_millis(20);
const CLOSING_TRIES: u32 = 5;

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
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// The bridge of the network that they are on.
    pub bridge: String,
}

/// A port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another container has it. Docker's words.
    #[error("Bind for {0} failed: port is already allocated")]
    Allocated(SocketAddr),
    /// Another program has it. Docker's words.
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

impl PortError {
    /// Whether the next port may be free.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Allocated(_) | Self::InUse { .. })
    }
}

/// Host ports that are ours while this lives.
#[derive(Debug)]
pub struct Reserved {
    bound: Vec<Bound>,
    published: Vec<PublishedPort>,
    held: Vec<Held>,
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
        let mut reserved = Self { bound: Vec::new(), published: Vec::new(), held: Vec::new() };
        for request in requests {
            for port in bind_one(host, request, target).await? {
                reserved.take(port, request, target);
            }
        }
        Ok(reserved)
    }

    fn take(&mut self, port: Port, request: &PortRequest, target: &Target) {
        let Port { mut held, socket, host, container } = port;
        self.bound.push(Bound { protocol: request.protocol, host, container_port: request.container_port });
        if host.is_ipv4() == container.is_ipv4() {
            self.published.push(PublishedPort {
                protocol: request.protocol,
                host,
                container,
                bridge: target.bridge.clone(),
            });
        }
        held.relay = Some(relay::start(held.netns.clone(), request.protocol, socket, container));
        self.held.push(held);
    }

    /// What was bound, in the order of the requests, IPv4 first: `NetworkSettings.Ports`.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// The part of it that packet rules do: for [`crate::Firewall::publish`].
    #[must_use]
    pub fn published(&self) -> &[PublishedPort] {
        &self.published
    }
}

/// A bound socket that nobody uses yet.
struct Port {
    held: Held,
    socket: Socket,
    host: SocketAddr,
    container: SocketAddr,
}

/// One port of this process. Dropping it frees the port.
#[derive(Debug)]
struct Held {
    netns: Netns,
    key: (Protocol, SocketAddr),
    /// Owns the socket, once it runs.
    relay: Option<AbortHandle>,
}

impl Held {
    /// The port, if no other container of this process has it.
    fn new(netns: &Netns, protocol: Protocol, host: SocketAddr) -> Option<Self> {
        let mut ports = netns.ports();
        let clashes = |(other, address): &(Protocol, SocketAddr)| {
            let any = address.ip().is_unspecified() || host.ip().is_unspecified();
            *other == protocol
                && address.port() == host.port()
                && address.is_ipv4() == host.is_ipv4()
                && (any || address.ip() == host.ip())
        };
        // Which port it will be is not known for 0.
        if host.port() != 0 && ports.iter().any(clashes) {
            return None;
        }
        let key = (protocol, host);
        ports.insert(key);
        Some(Self { netns: netns.clone(), key, relay: None })
    }

    /// The port is known now.
    fn rename(&mut self, host: SocketAddr) {
        let mut ports = self.netns.ports();
        ports.remove(&self.key);
        self.key.1 = host;
        ports.insert(self.key);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.abort();
        }
        self.netns.ports().remove(&self.key);
    }
}

/// All sockets of one request, on one port.
async fn bind_one(netns: &Netns, request: &PortRequest, target: &Target) -> Result<Vec<Port>> {
    let any = *request.host_ports.end() == 0;
    if any {
        for _ in 0..EPHEMERAL_TRIES {
            match bind_families(netns, request, target, 0).await {
                Err(Error::Port(err)) if err.is_taken() => {}
                bound => return bound,
            }
        }
        return Err(Error::Port(PortError::AllTaken));
    }
    let only = request.host_ports.start() == request.host_ports.end();
    for port in request.host_ports.clone() {
        match bind_families(netns, request, target, port).await {
            Err(Error::Port(err)) if err.is_taken() && !only => {}
            bound => return bound,
        }
    }
    Err(Error::Port(PortError::AllTaken))
}

/// The sockets of one request on `port`; 0 is any, the same for all.
async fn bind_families(netns: &Netns, request: &PortRequest, target: &Target, mut port: u16) -> Result<Vec<Port>> {
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = request.host_ip.as_ref().map_or(&every[..], std::slice::from_ref);
    let mut bound = Vec::new();
    for address in addresses {
        // The relay leads to the other family, if that is all that the container has.
        let (v4, v6) = (target.v4.map(IpAddr::V4), target.v6.map(IpAddr::V6));
        let container = if address.is_ipv4() { v4.or(v6) } else { v6.or(v4) };
        let Some(container) = container.map(|ip| SocketAddr::new(ip, request.container_port)) else { continue };
        let host = SocketAddr::new(*address, port);
        match bind_socket(netns, request.protocol, host, container).await {
            Ok(bind) => {
                port = bind.host.port();
                bound.push(bind);
            }
            // A host without IPv6: nobody asked for it by name.
            Err(Failed::NoFamily(_)) if request.host_ip.is_none() && !bound.is_empty() => {}
            Err(failed) => return Err(failed.into_error(request.protocol, host, container)),
        }
    }
    Ok(bound)
}

/// Why a socket could not be bound.
enum Failed {
    Allocated,
    InUse,
    /// No IPv6, or not that address.
    NoFamily(io::Error),
    Other(io::Error),
    Error(Error),
}

impl Failed {
    fn of(err: io::Error) -> Self {
        match err.raw_os_error().map(nix::Error::from_raw) {
            Some(nix::Error::EADDRINUSE) => Self::InUse,
            Some(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL) => Self::NoFamily(err),
            _ => Self::Other(err),
        }
    }

    fn into_error(self, protocol: Protocol, host: SocketAddr, container: SocketAddr) -> Error {
        let refused = |err: io::Error| {
            // Go's words are the C library's in lower case.
            let reason =
                err.raw_os_error().map_or_else(|| err.to_string(), |code| nix::Error::from_raw(code).desc().to_owned());
            PortError::Refused { host, container, protocol, reason: reason.to_lowercase() }
        };
        Error::Port(match self {
            Self::Allocated => PortError::Allocated(host),
            Self::InUse => PortError::InUse { host, container, protocol },
            Self::NoFamily(err) | Self::Other(err) => refused(err),
            Self::Error(err) => return err,
        })
    }
}

async fn bind_socket(
    netns: &Netns,
    protocol: Protocol,
    host: SocketAddr,
    container: SocketAddr,
) -> std::result::Result<Port, Failed> {
    let mut held = Held::new(netns, protocol, host).ok_or(Failed::Allocated)?;
    let mut tries = 0;
    let socket = loop {
        match socket::bind(netns, protocol, host).await.map_err(Failed::Error)? {
            Err(err) if err.kind() == io::ErrorKind::AddrInUse && host.port() != 0 && tries < CLOSING_TRIES => {
                tries += 1;
                tokio::time::sleep(CLOSING).await;
            }
            Err(err) if protocol == Protocol::Sctp && socket::is_unknown(&err) => {
                return Err(Failed::Error(Error::Unsupported("this host's kernel has no SCTP".to_owned())));
            }
            bound => break bound.map_err(Failed::of)?,
        }
    };
    let port = socket.local_addr().ok().and_then(|address| address.as_socket()).map_or(host.port(), |a| a.port());
    let host = SocketAddr::new(host.ip(), port);
    held.rename(host);
    Ok(Port { held, socket, host, container })
}
