//! The number of the ruleset, which every transaction of anybody changes, and
//! news of it: nftables by netlink, as far as that.

use crate::{Error, Netns, Result};
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};
use std::io;

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 10 << 8 | 16;
/// The same with `NFT_MSG_NEWGEN`.
const GENERATION: u16 = 10 << 8 | 15;
/// `NFTA_GEN_ID`.
const ID: u16 = 1;
/// `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 20;
const REQUEST: u16 = 1;

/// The ruleset's number now.
pub(super) async fn generation(netns: &Netns) -> Result<u32> {
    let asked = netns.run_quick(ask).await?;
    asked.map_err(|err| Error::io("ask for the number of the nftables ruleset", err))
}

fn ask() -> io::Result<u32> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = [0_u8; HEADERS];
    message[..4].copy_from_slice(&20_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&GET_GENERATION.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    socket.send(&message, 0)?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer without a number"))
}

fn parse(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let mut rest = answer.get(HEADERS..).filter(|_| kind == GENERATION)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == ID {
            return Some(u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// A socket that hears of every change.
pub(super) async fn subscribe(netns: &Netns) -> Result<TokioSocket> {
    let runtime = tokio::runtime::Handle::current();
    let open = move || {
        let _guard = runtime.enter();
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(GROUP)?;
        Ok(socket)
    };
    netns.run_quick(open).await?.map_err(|err: io::Error| Error::io("listen to changes of nftables", err))
}

/// Waits for a change. More of them than the socket holds are a change too.
pub(super) async fn changed(socket: &mut TokioSocket) -> Result<()> {
    match socket.recv_from_full().await {
        Ok(_) => Ok(()),
        Err(err) if err.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
        Err(err) => Err(Error::io("listen to changes of nftables", err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_none() {
        let mut answer = vec![0_u8; HEADERS];
        answer[4..6].copy_from_slice(&GENERATION.to_ne_bytes());
        assert_eq!(parse(&answer), None);
        answer.extend([6, 0, 9, 0, 1, 1, 0, 0]);
        answer.extend([8, 0, 1, 0, 0, 0, 1, 2]);
        assert_eq!(parse(&answer), Some(258));
        for length in 0..answer.len() {
            assert_eq!(parse(&answer[..length]), None);
        }
        // A length of zero ends nothing and hangs nothing.
        answer[HEADERS] = 0;
        assert_eq!(parse(&answer), None);
    }
}
