//! What a file is: size, owner, mode, times.

use super::{Done, entry::PERMISSIONS};
use crate::{
    nodes::{self, ROOT, number},
    server::Server,
    wire::{Args, Head, Reply},
};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid},
    io::Errno,
};
use std::os::fd::{AsFd, BorrowedFd};

const GETATTR_FH: u32 = 1 << 0;

const MODE: u32 = 1 << 0;
const UID: u32 = 1 << 1;
const GID: u32 = 1 << 2;
const SIZE: u32 = 1 << 3;
const ATIME: u32 = 1 << 4;
const MTIME: u32 = 1 << 5;
const FH: u32 = 1 << 6;
const ATIME_NOW: u32 = 1 << 7;
const MTIME_NOW: u32 = 1 << 8;
const KILL_SUIDGID: u32 = 1 << 11;

/// Bits that go when somebody without a right to them writes.
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

/// A request to change it.
struct Change {
    valid: u32,
    fh: u64,
    size: u64,
    times: Timestamps,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Change {
    fn parse(args: &mut Args<'_>) -> Result<Self, Errno> {
        let (valid, _, fh, size, _owner) = (args.u32()?, args.u32()?, args.u64()?, args.u64()?, args.u64()?);
        let (atime, mtime, _ctime) = (args.u64()?, args.u64()?, args.u64()?);
        let (atime_ns, mtime_ns, _ctime_ns) = (args.u32()?, args.u32()?, args.u32()?);
        let (mode, _, uid, gid) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        let time = |set: u32, now: u32, seconds: u64, ns: u32| {
            let tv_nsec = match (valid & set != 0, valid & now != 0) {
                (_, true) => UTIME_NOW,
                (true, false) => i64::from(ns.min(999_999_999)),
                (false, false) => UTIME_OMIT,
            };
            Timespec { tv_sec: seconds.cast_signed(), tv_nsec }
        };
        let times = Timestamps {
            last_access: time(ATIME, ATIME_NOW, atime, atime_ns),
            last_modification: time(MTIME, MTIME_NOW, mtime, mtime_ns),
        };
        Ok(Self { valid, fh, size, times, mode, uid, gid })
    }

    fn has(&self, bits: u32) -> bool {
        self.valid & bits != 0
    }
}

impl Server {
    pub(super) fn getattr(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (flags, _, fh) = (args.u32()?, args.u32()?, args.u64()?);
        if head.node == ROOT {
            let attributes = self.attributes(nodes::stat(self.jail.descriptors())?);
            Self::reply_attributes(&attributes, reply);
            return Ok(());
        }
        let node = self.nodes.get(head.node)?;
        // A file without a name is found by what is open of it.
        let stat = match (flags & GETATTR_FH != 0).then(|| self.opened.get(fh, head.node)) {
            Some(Ok(open)) => nodes::stat(open.fd()?)?,
            _ => nodes::stat(node.fd()?.as_fd())?,
        };
        let attributes = self.attributes(stat);
        Self::tell(&node, &attributes);
        Self::reply_attributes(&attributes, reply);
        Ok(())
    }

    pub(super) fn setattr(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let change = Change::parse(args)?;
        let node = self.node(head.node)?;
        let open = if change.has(FH) { Some(self.opened.get(change.fh, head.node)?) } else { None };
        let path = node.fd()?;
        if change.has(MODE) {
            self.change_mode(path.as_fd(), change.mode & PERMISSIONS)?;
        }
        if change.has(UID | GID) {
            let uid = change.has(UID).then(|| Uid::from_raw(change.uid));
            let gid = change.has(GID).then(|| Gid::from_raw(change.gid));
            rustix::fs::chownat(path.as_fd(), c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if change.has(SIZE) {
            match &open {
                Some(open) => rustix::fs::ftruncate(open.fd()?, change.size)?,
                None => rustix::fs::ftruncate(self.open_file(&node, OFlags::WRONLY)?, change.size)?,
            }
            if change.has(KILL_SUIDGID) {
                self.strip(path.as_fd())?;
            }
        }
        if change.has(ATIME | MTIME | ATIME_NOW | MTIME_NOW) {
            let place = number(path.as_fd());
            rustix::fs::utimensat(self.jail.descriptors(), place, &change.times, AtFlags::empty())?;
        }
        let attributes = self.attributes(nodes::stat(path.as_fd())?);
        Self::tell(&node, &attributes);
        Self::reply_attributes(&attributes, reply);
        Ok(())
    }

    pub(super) fn change_mode(&self, path: BorrowedFd<'_>, mode: u32) -> Done {
        // Through `/proc`: the call takes no descriptor that is only a path.
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(self.jail.descriptors(), number(path), mode, AtFlags::empty())
    }

    /// Takes the bits from a file by which it runs as another.
    pub(super) fn strip(&self, path: BorrowedFd<'_>) -> Done {
        let mode = u32::from(nodes::stat(path)?.stx_mode);
        let group = if mode & GROUP_EXECUTES != 0 { SET_GID } else { 0 };
        let stripped = mode & PERMISSIONS & !(SET_UID | group);
        if stripped == mode & PERMISSIONS { Ok(()) } else { self.change_mode(path, stripped) }
    }
}
