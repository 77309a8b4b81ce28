//! Reading directories.

use super::Done;
use crate::{
    nodes::{Node, ROOT},
    open::Open,
    server::Server,
    wire::{Args, Attributes, Head, MAX_IO, REPLY_HEAD, Reply},
};
use rustix::{
    fs::{FileType, OFlags, RawDir, SeekFrom},
    io::Errno,
};
use std::{ffi::CStr, mem::MaybeUninit, os::fd::AsFd, sync::PoisonError};

/// An entry's head.
const DIRENT: usize = 24;
/// What comes before it with what the entry is.
const ENTRY: usize = 128;
/// What is read of a directory at once; more than the longest entry.
const LEAST: usize = 1024;
const MOST: usize = 32 << 10;
/// The descriptor is somewhere else than where the next read begins.
const ELSEWHERE: u64 = u64::MAX;

/// One entry, as it goes to the guest.
struct Entry<'a> {
    ino: u64,
    next: u64,
    kind: FileType,
    name: &'a [u8],
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

impl Entry<'_> {
    fn size(&self, plus: bool) -> usize {
        padded(DIRENT + self.name.len()) + if plus { ENTRY } else { 0 }
    }

    fn write(&self, reply: &mut Reply) {
        reply.u64(self.ino);
        reply.u64(self.next);
        reply.u32(u32::try_from(self.name.len()).unwrap_or(0));
        reply.u32(self.kind.as_raw_mode() >> 12);
        reply.bytes(self.name);
        let len = padded(reply.0.len() - REPLY_HEAD) + REPLY_HEAD;
        reply.0.resize(len, 0);
    }
}

impl Server {
    pub(super) fn opendir(&self, head: &Head, reply: &mut Reply) -> Done {
        let slot = self.opened.slot()?;
        let (node, fd) = if head.node == ROOT {
            (None, None)
        } else {
            let node = self.nodes.get(head.node)?;
            let fd = self.jail.reopen(node.dir()?.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            (Some(node), Some(fd))
        };
        reply.u64(self.opened.add(node, fd, slot));
        reply.u64(0);
        Ok(())
    }

    pub(super) fn readdir(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply, plus: bool) -> Done {
        let (fh, offset, size) = (args.u64()?, args.u64()?, args.u32()?);
        let size = usize::try_from(size).unwrap_or(MAX_IO).min(MAX_IO);
        let open = self.opened.get(fh, head.node)?;
        match &open.node {
            Some(node) => self.read_dir(&open, node, offset, size, reply, plus),
            None => self.read_root(offset, size, reply, plus),
        }
    }

    fn read_dir(&self, open: &Open, node: &Node, offset: u64, size: usize, reply: &mut Reply, plus: bool) -> Done {
        let mut position = open.position.lock().unwrap_or_else(PoisonError::into_inner);
        if *position != offset {
            rustix::fs::seek(open.fd()?, SeekFrom::Start(offset))?;
        }
        *position = ELSEWHERE;
        let mut next = offset;
        // With what they are, entries take several times their room here.
        let room = (if plus { size / 4 } else { size }).clamp(LEAST, MOST);
        let mut buffer = vec![MaybeUninit::uninit(); room];
        let mut entries = RawDir::new(open.fd()?, &mut buffer);
        loop {
            let full = REPLY_HEAD + size < reply.0.len() + LEAST;
            if entries.is_buffer_empty() && next != offset && full {
                break;
            }
            let Some(entry) = entries.next() else { break };
            let entry = entry?;
            let name = entry.file_name();
            let ino = self.nodes.entry_ino(node, entry.ino());
            let to = Entry { ino, next: entry.next_entry_cookie(), kind: entry.file_type(), name: name.to_bytes() };
            if reply.0.len() + to.size(plus) > REPLY_HEAD + size {
                // The rest of what was read is read once more.
                return if next == offset { Err(Errno::INVAL) } else { Ok(()) };
            }
            if plus {
                self.reply_plus(node, name, reply);
            }
            to.write(reply);
            next = to.next;
        }
        *position = next;
        Ok(())
    }

    /// What an entry is, or nothing: it may be gone by now.
    fn reply_plus(&self, dir: &Node, name: &CStr, reply: &mut Reply) {
        let found = match name.to_bytes() {
            b"." | b".." => None,
            _ => self.look_up(dir, name).ok(),
        };
        match found {
            Some((node, attributes)) => Self::reply_entry(&node, &attributes, reply),
            None => reply.bytes(&[0; ENTRY]),
        }
    }

    /// The shares, by their numbers; an offset is the number of the next.
    fn read_root(&self, offset: u64, size: usize, reply: &mut Reply, plus: bool) -> Done {
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        for (n, root) in self.roots.iter().enumerate().skip(first) {
            let name = n.to_string();
            let Attributes { ino, .. } = self.attributes(crate::nodes::stat(root.fd()?.as_fd())?);
            let entry = Entry { ino, next: n as u64 + 1, kind: root.kind, name: name.as_bytes() };
            if reply.0.len() + entry.size(plus) > REPLY_HEAD + size {
                break;
            }
            if plus {
                // Looked up when it is needed.
                reply.bytes(&[0; ENTRY]);
            }
            entry.write(reply);
        }
        Ok(())
    }
}
