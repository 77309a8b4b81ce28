//! Files that are open.

use super::{Done, entry::PERMISSIONS, owner::Acting};
use crate::{
    nodes::{self, Node, Version},
    server::Server,
    wire::{Args, FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, Head, MAX_IO, REPLY_HEAD, Reply},
};
use rustix::{
    fs::{FallocateFlags, FileType, Mode, OFlags, SeekFrom, openat},
    io::{Errno, ReadWriteFlags},
};
use std::{
    ffi::CStr,
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What a guest's flags of an open mean here: others are for its own kernel.
const FLAGS: OFlags = OFlags::ACCMODE.union(OFlags::TRUNC).union(OFlags::SYNC).union(OFlags::NOATIME);
const OPEN_KILL_SUIDGID: u32 = 1 << 0;
const WRITE_KILL_SUIDGID: u32 = 1 << 2;
const RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;
const FSYNC_DATA: u32 = 1 << 0;
/// A copy is served in parts, so that it holds no thread for long.
const MAX_COPY: u64 = 64 << 20;
/// A change within these seconds may have the time of the one before.
const SETTLED: i64 = 2;
/// How long after an open that was sent back none is: one that is tried again,
/// and is sent back again, fails.
const PATIENCE: Duration = Duration::from_secs(1);
/// Filesystems whose files say that they are empty and are not: proc, sysfs,
/// cgroup, cgroup2, debugfs, tracefs.
const PSEUDO: &[i64] = &[0x9fa0, 0x6265_6572, 0x27_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163];

/// What is appended goes past the guest's cache, which would cut a write in two
/// where it believes a page to end, and somebody else's could come between.
fn appending(flags: OFlags) -> u32 {
    if flags.contains(OFlags::APPEND) { FOPEN_DIRECT_IO } else { 0 }
}

impl Server {
    pub(super) fn open(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (flags, open_flags) = (args.u32()?, args.u32()?);
        let node = self.node(head.node)?;
        let asked = OFlags::from_bits_retain(flags);
        let flags = asked & FLAGS;
        let slot = self.opened.slot()?;
        let fd = self.open_file(&node, flags)?;
        if open_flags & OPEN_KILL_SUIDGID != 0 && flags.contains(OFlags::TRUNC) {
            self.strip(fd.as_fd())?;
        }
        let answer = self.freshness(&node, fd.as_fd())? | appending(asked);
        let fh = self.opened.add(Some(node), Some(fd), slot);
        reply.u64(fh);
        reply.u32(answer);
        reply.u32(0);
        Ok(())
    }

    /// Whoever opens a file sees what others wrote before: its attributes are
    /// told anew if they are others, and its pages stay cached only if nobody
    /// has changed it since it was opened last.
    fn freshness(&self, node: &Node, fd: BorrowedFd<'_>) -> Result<u32, Errno> {
        let stat = nodes::stat(fd)?;
        if stat.stx_size == 0 && stat.stx_blocks == 0 && PSEUDO.contains(&rustix::fs::fstatfs(fd)?.f_type) {
            return Ok(FOPEN_DIRECT_IO);
        }
        let version = Version::of(&stat);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
        let mut told = node.told();
        let stale = told.attributes.is_some_and(|known| known != version);
        if stale && told.refused.is_none_or(|then| then.elapsed() > PATIENCE) {
            // The guest's kernel looks the name up once more then, and opens with
            // the size that this tells it. It would ask for the size before a read,
            // but not before a splice (`sendfile`) out of its cache.
            told.refused = Some(Instant::now());
            return Err(Errno::STALE);
        }
        let keep = told.opened == Some(version);
        told.attributes = Some(version);
        told.opened = (now - version.second() > SETTLED).then_some(version);
        drop(told);
        if stale {
            self.invalidate(node.id);
        }
        Ok(if keep { FOPEN_KEEP_CACHE } else { 0 })
    }

    pub(super) fn create(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (flags, mode, mask, open_flags) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        let name = args.name()?;
        let dir = self.node(head.node)?;
        let flags = OFlags::from_bits_retain(flags);
        let slot = self.opened.slot()?;
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        let made = self.make(head, &dir, name, (flags & FLAGS, mode, mask));
        let (fd, path) = match made {
            // Somebody else was faster, and the guest does not mind.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                let path = nodes::look(dir.dir()?.as_fd(), name)?;
                let kind = FileType::from_raw_mode(nodes::stat(path.as_fd())?.stx_mode.into());
                if kind != FileType::RegularFile {
                    // Looked up anew, it is what it is.
                    return Err(Errno::STALE);
                }
                let fd = self.jail.reopen(path.as_fd(), flags & FLAGS)?;
                if open_flags & OPEN_KILL_SUIDGID != 0 && flags.contains(OFlags::TRUNC) {
                    self.strip(fd.as_fd())?;
                }
                (fd, path)
            }
            made => {
                let fd = made?;
                let path = self.jail.reopen(fd.as_fd(), OFlags::PATH)?;
                (fd, path)
            }
        };
        self.reply_created(&dir, (fd, path, slot), appending(flags), reply)
    }

    /// A new file, of whom the guest says.
    fn make(
        &self,
        head: &Head,
        dir: &Node,
        name: &CStr,
        (flags, mode, mask): (OFlags, Mode, u32),
    ) -> Result<OwnedFd, Errno> {
        let place = dir.dir()?;
        let _acting = Acting::new(head, mask)?;
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(place.as_fd(), name, flags - OFlags::TRUNC, mode)
    }

    fn reply_created(
        &self,
        dir: &Node,
        (fd, path, slot): (OwnedFd, OwnedFd, crate::open::Slot),
        answer: u32,
        reply: &mut Reply,
    ) -> Done {
        let (node, attributes) = self.nodes.find(&self.jail, path, dir.read_only)?;
        Self::reply_entry(&node, &attributes, reply);
        let fh = self.opened.add(Some(node), Some(fd), slot);
        reply.u64(fh);
        reply.u32(answer);
        reply.u32(0);
        Ok(())
    }

    pub(super) fn tmpfile(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (flags, mode, mask, _) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        let dir = self.node(head.node)?;
        let slot = self.opened.slot()?;
        let asked = OFlags::from_bits_retain(flags);
        let flags = (asked & (OFlags::ACCMODE | OFlags::SYNC | OFlags::EXCL)) | OFlags::TMPFILE | OFlags::CLOEXEC;
        let place = dir.dir()?;
        let acting = Acting::new(head, mask)?;
        let fd = openat(place.as_fd(), c".", flags, Mode::from_raw_mode(mode & PERMISSIONS))?;
        drop(acting);
        let path = self.jail.reopen(fd.as_fd(), OFlags::PATH)?;
        self.reply_created(&dir, (fd, path, slot), appending(asked), reply)
    }

    pub(super) fn read(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (fh, offset, size) = (args.u64()?, args.u64()?, args.u32()?);
        let open = self.opened.get(fh, head.node)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_IO {
            return Err(Errno::INVAL);
        }
        reply.0.resize(REPLY_HEAD + size, 0);
        let mut done = 0;
        while done < size {
            // The kernel takes no more than this as a position.
            let position =
                offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok()).ok_or(Errno::INVAL)?;
            match rustix::io::pread(open.fd()?, &mut reply.0[REPLY_HEAD + done..], position) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
        }
        reply.0.truncate(REPLY_HEAD + done);
        if head.slot != 0 {
            self.window.put(head.slot, &reply.0[REPLY_HEAD..])?;
            reply.0.truncate(REPLY_HEAD);
            reply.u32(u32::try_from(done).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    pub(super) fn write(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (fh, offset, size, write_flags) = (args.u64()?, args.u64()?, args.u32()?, args.u32()?);
        let (_owner, flags, _) = (args.u64()?, args.u32()?, args.u32()?);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let open = self.opened.get(fh, head.node)?;
        let data = if head.slot == 0 {
            args.bytes(size)?
        } else {
            if size > MAX_IO {
                return Err(Errno::INVAL);
            }
            // The reply's memory is free until there is one.
            reply.0.resize(REPLY_HEAD + size, 0);
            self.window.take(head.slot, &mut reply.0[REPLY_HEAD..])?;
            &reply.0[REPLY_HEAD..]
        };
        // The file's end is where it is now, whatever the guest believes.
        let append = OFlags::from_bits_retain(flags).contains(OFlags::APPEND);
        let how = if append { ReadWriteFlags::APPEND } else { ReadWriteFlags::empty() };
        let mut done = 0;
        while done < data.len() {
            let position =
                offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok()).ok_or(Errno::INVAL)?;
            match rustix::io::pwritev2(open.fd()?, &[IoSlice::new(&data[done..])], position, how) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(err) => return Err(err),
            }
        }
        if write_flags & WRITE_KILL_SUIDGID != 0 {
            self.strip(open.fd()?)?;
        }
        reply.0.truncate(REPLY_HEAD);
        reply.u32(u32::try_from(done).unwrap_or(u32::MAX));
        reply.u32(0);
        Ok(())
    }

    pub(super) fn flush(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let (fh, _, owner) = (args.u64()?, args.u64()?, args.u64()?);
        self.locks.forget(head.node, owner);
        self.opened.get(fh, head.node).map(drop)
    }

    pub(super) fn release(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let (fh, _flags, release_flags) = (args.u64()?, args.u32()?, args.u32()?);
        self.opened.close(fh, head.node);
        if release_flags & RELEASE_FLOCK_UNLOCK != 0 {
            self.locks.unlocked();
        }
        Ok(())
    }

    pub(super) fn fsync(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let (fh, flags) = (args.u64()?, args.u32()?);
        let open = self.opened.get(fh, head.node)?;
        match open.fd() {
            Ok(fd) if flags & FSYNC_DATA != 0 => rustix::fs::fdatasync(fd),
            Ok(fd) => rustix::fs::fsync(fd),
            // Nothing of the root is on a disk.
            Err(_) => Ok(()),
        }
    }

    pub(super) fn fallocate(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let (fh, offset, length, mode) = (args.u64()?, args.u64()?, args.u64()?, args.u32()?);
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        rustix::fs::fallocate(self.opened.get(fh, head.node)?.fd()?, mode, offset, length)
    }

    pub(super) fn lseek(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (fh, offset, whence) = (args.u64()?, args.u64()?, args.u32()?);
        let to = match i32::try_from(whence) {
            Ok(libc::SEEK_DATA) => SeekFrom::Data(offset),
            Ok(libc::SEEK_HOLE) => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let open = self.opened.get(fh, head.node)?;
        // A position is otherwise of no use: reads and writes bring theirs along.
        if open.node.as_ref().is_none_or(|node| node.kind != FileType::RegularFile) {
            return Err(Errno::INVAL);
        }
        reply.u64(rustix::fs::seek(open.fd()?, to)?);
        Ok(())
    }

    pub(super) fn copy_file_range(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (fh, mut from_offset) = (args.u64()?, args.u64()?);
        let (to_node, to_fh, mut to_offset) = (args.u64()?, args.u64()?, args.u64()?);
        let (len, flags) = (args.u64()?, args.u64()?);
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        let (from, to): (Arc<_>, Arc<_>) = (self.opened.get(fh, head.node)?, self.opened.get(to_fh, to_node)?);
        let len = usize::try_from(len.min(MAX_COPY)).unwrap_or(0);
        let done =
            rustix::fs::copy_file_range(from.fd()?, Some(&mut from_offset), to.fd()?, Some(&mut to_offset), len)?;
        reply.u32(u32::try_from(done).unwrap_or(0));
        reply.u32(0);
        Ok(())
    }
}
