//! Sockets in the namespace that the ports belong to.

use crate::{Netns, Protocol, Result};
use socket2::{Domain, Socket, Type};
use std::{io, net::SocketAddr};

/// As Go's `net.Listen`, so that as many may wait as with Docker.
const BACKLOG: i32 = 4096;

/// A socket of `protocol` for addresses like `like`, that blocks nobody.
pub(super) async fn open(netns: &Netns, protocol: Protocol, like: SocketAddr) -> Result<io::Result<Socket>> {
    netns.run_quick(move || new(protocol, like)).await
}

/// A socket that holds `host`; those of connections listen.
pub(super) async fn bind(netns: &Netns, protocol: Protocol, host: SocketAddr) -> Result<io::Result<Socket>> {
    let bind = move || {
        let socket = new(protocol, host)?;
        if host.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if protocol != Protocol::Udp {
            // Connections of before that wait to be forgotten are nobody's.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&host.into())?;
        if protocol != Protocol::Udp {
            socket.listen(BACKLOG)?;
        }
        Ok(socket)
    };
    netns.run_quick(bind).await
}

fn new(protocol: Protocol, like: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        Protocol::Sctp => (Type::STREAM, socket2::Protocol::SCTP),
    };
    let socket = Socket::new(Domain::for_address(like), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether the kernel does not know the protocol.
pub(super) fn is_unknown(err: &io::Error) -> bool {
    let unknown = [nix::Error::EPROTONOSUPPORT, nix::Error::ESOCKTNOSUPPORT];
    err.raw_os_error().is_some_and(|code| unknown.contains(&nix::Error::from_raw(code)))
}
