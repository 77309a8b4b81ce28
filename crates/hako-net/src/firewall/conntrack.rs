//! Datagrams have no beginning: the kernel keeps the way that the first one
//! took. When a port's way changes, what it keeps of the port is forgotten, or
//! a client that goes on sending reaches a container that has gone.

use super::PublishedPort;
use crate::{Error, Netns, Protocol, Result};
use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_NETFILTER};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…`; what a dump answers with is `NEW`.
const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 20;
/// The two bits of a kind that are flags.
const KIND: u16 = 0x3fff;

/// Forgets what is kept of datagrams to `ports`.
pub(super) async fn forget(host: &Netns, ports: &[PublishedPort]) -> Result<()> {
    let datagrams = ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let hosts: Vec<SocketAddr> = datagrams.map(|port| port.host).collect();
    if hosts.is_empty() {
        return Ok(());
    }
    let forgotten = host.run(move || forget_all(&hosts)).await?;
    forgotten.map_err(|err| Error::io("forget the connections of ports", err))
}

fn forget_all(hosts: &[SocketAddr]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut tuples = Vec::new();
    request(&socket, GET, REQUEST | DUMP, 0, &[])?;
    receive(&socket, |kind, family, attributes| {
        if kind == NEW
            && let Some(tuple) = attribute(attributes, 1)
            && let Some(to) = datagram_to(tuple)
            && hosts.iter().any(|host| leads(*host, to))
        {
            tuples.push((family, tuple.to_vec()));
        }
    })?;
    for (family, tuple) in tuples {
        let length = u16::try_from(tuple.len() + 4).map_err(io::Error::other)?;
        let nested = 1_u16 | 0x8000;
        let mut payload = [length.to_ne_bytes(), nested.to_ne_bytes()].concat();
        payload.extend(tuple);
        request(&socket, DELETE, REQUEST | ACK, family, &payload)?;
        match receive(&socket, |_, _, _| {}) {
            // It has ended by itself.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            deleted => deleted?,
        }
    }
    Ok(())
}

/// Whether datagrams to `to` arrive at the published `host`.
fn leads(host: SocketAddr, to: SocketAddr) -> bool {
    host.port() == to.port() && host.is_ipv4() == to.is_ipv4() && (host.ip().is_unspecified() || host.ip() == to.ip())
}

fn request(socket: &Socket, kind: u16, flags: u16, family: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADERS + payload.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADERS + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender: there is one request at a time.
    message.extend([0; 8]);
    // The version is 0; no resource.
    message.extend([family, 0, 0, 0]);
    message.extend(payload);
    socket.send(&message, 0).map(drop)
}

/// Reads answers to their end.
fn receive(socket: &Socket, mut each: impl FnMut(u16, u8, &[u8])) -> io::Result<()> {
    loop {
        let mut buffer = Vec::with_capacity(64 << 10);
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while let Some(length) = word(rest, 0).map(|length| length as usize).filter(|length| *length >= 16) {
            let Some(message) = rest.get(..length) else { break };
            let kind = half(message, 4).unwrap_or(DONE);
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = word(message, 16).unwrap_or_default().cast_signed();
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(kind, message.get(16).copied().unwrap_or_default(), message.get(HEADERS..).unwrap_or(&[])),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// Where the datagrams of a tuple go; `None` for other protocols.
fn datagram_to(tuple: &[u8]) -> Option<SocketAddr> {
    let (addresses, transport) = (attribute(tuple, 1)?, attribute(tuple, 2)?);
    if attribute(transport, 1)?.first() != Some(&17) {
        return None;
    }
    let port = u16::from_be_bytes(attribute(transport, 3)?.get(..2)?.try_into().ok()?);
    let v4 = attribute(addresses, 2).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let v6 = || attribute(addresses, 4).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from);
    Some(SocketAddr::new(v4.or_else(v6)?, port))
}

/// The value of the attribute `kind`.
fn attribute(mut rest: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        if half(rest, 2)? & KIND == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [(u16::try_from(value.len()).unwrap() + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn tuples_are_read_and_nothing_panics() {
        let addresses = [attr(1, &[10, 0, 0, 1]), attr(2, &[10, 0, 0, 2])].concat();
        let transport = [attr(1, &[17]), attr(2, &[1, 2]), attr(3, &[0x1f, 0x90])].concat();
        let tuple = [attr(0x8001, &addresses), attr(0x8002, &transport)].concat();
        let to = datagram_to(&tuple).unwrap();
        assert_eq!(to, "10.0.0.2:8080".parse().unwrap());
        assert!(leads("0.0.0.0:8080".parse().unwrap(), to) && leads("10.0.0.2:8080".parse().unwrap(), to));
        assert!(!leads("10.0.0.3:8080".parse().unwrap(), to) && !leads("[::]:8080".parse().unwrap(), to));
        for length in 0..tuple.len() {
            let _ = datagram_to(&tuple[..length]);
            let mut wrong = tuple.clone();
            wrong[length] = 0;
            let _ = datagram_to(&wrong);
        }
    }
}
