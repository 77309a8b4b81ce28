//! The kernel's process connector: who made, executed and ended what, and when
//! (`linux/cn_proc.h`).
#![allow(unsafe_code)]
// UNSAFETY: nix makes no socket of this protocol.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv, send, setsockopt, sockopt};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `CN_IDX_PROC`, which is both the group and the index.
const PROC: u32 = 1;
/// `NLMSG_DONE`, as the connector numbers its messages.
const DONE: u16 = 3;
const LISTEN: u32 = 1;
/// Netlink's header, the connector's, and what precedes an event's own fields.
const HEADERS: usize = 16 + 20;
const FIELDS: usize = HEADERS + 16;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Fork,
    Exec,
    Exit,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub what: Kind,
    /// Milliseconds since some moment.
    pub at: f64,
    /// The process, for a fork the parent.
    pub pid: i32,
    /// For a fork the new process, else 0.
    pub child: i32,
}

/// Hears of everything on the machine.
pub struct Listener(OwnedFd);

impl Listener {
    /// Begins to listen.
    pub fn open() -> Result<Self> {
        let none = || "the kernel's process connector (CONFIG_PROC_EVENTS, root)";
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let socket = Errno::result(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) });
        // SAFETY: the descriptor was just made and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket.with_context(none)?) };
        // A busy machine must not make it lose any.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, PROC)).with_context(none)?;
        let mut message = Vec::new();
        for word in [u32::try_from(HEADERS + 4)?, u32::from(DONE), 0, 0, PROC, PROC, 0, 0, 4, LISTEN] {
            message.extend(word.to_ne_bytes());
        }
        send(socket.as_raw_fd(), &message, MsgFlags::empty()).with_context(none)?;
        Ok(Self(socket))
    }

    /// Takes what has happened until now.
    pub fn read_into(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut message = [0; 256];
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(length) => events.extend(parse(&message[..length])),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::ENOBUFS) => bail!("more processes than could be listened to"),
                Err(errno) => return Err(errno).context("reading events of processes"),
            }
        }
    }
}

/// Of processes: what their threads do is not of interest.
fn parse(message: &[u8]) -> Option<Event> {
    let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
    let field = |number: usize| word(FIELDS + 4 * number).and_then(|word| i32::try_from(word).ok());
    let nanos = u64::from_ne_bytes(message.get(HEADERS + 8..HEADERS + 16)?.try_into().ok()?);
    let at = nanos as f64 / 1e6;
    let (thread, process) = (field(0)?, field(1)?);
    match word(HEADERS)? {
        1 if field(2)? == field(3)? => Some(Event { what: Kind::Fork, at, pid: process, child: field(3)? }),
        2 => Some(Event { what: Kind::Exec, at, pid: process, child: 0 }),
        0x8000_0000 if thread == process => Some(Event { what: Kind::Exit, at, pid: process, child: 0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_of_processes_and_not_of_threads() {
        let message = |what: u32, fields: [i32; 4]| {
            let mut message = vec![0; HEADERS];
            message.extend(what.to_ne_bytes());
            message.extend(0_u32.to_ne_bytes());
            message.extend(5_000_000_u64.to_ne_bytes());
            fields.iter().for_each(|field| message.extend(field.to_ne_bytes()));
            message
        };
        let event = parse(&message(1, [8, 7, 9, 9])).unwrap();
        assert_eq!((event.what, event.pid, event.child, event.at), (Kind::Fork, 7, 9, 5.0));
        assert!(parse(&message(1, [8, 7, 9, 7])).is_none(), "a thread");
        assert!(parse(&message(0x8000_0000, [8, 7, 0, 0])).is_none(), "a thread");
        assert_eq!(parse(&message(2, [7, 7, 0, 0])).unwrap().what, Kind::Exec);
        assert!(parse(&[0; 20]).is_none());
    }
}
