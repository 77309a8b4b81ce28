//! Names: looking them up, making and removing them.

use super::{Done, owner::Acting};
use crate::{
    nodes::{Node, ROOT, look},
    server::Server,
    wire::{Args, Attributes, Head, Reply},
};
use rustix::{
    fs::{AtFlags, FileType, Mode, RenameFlags, linkat, mkdirat, mknodat, renameat_with, symlinkat, unlinkat},
    io::Errno,
};
use std::{ffi::CStr, os::fd::AsFd, sync::Arc};

/// The bits of a mode that are no kind.
pub(super) const PERMISSIONS: u32 = 0o7777;
/// The longest text of a link.
const MAX_LINK: usize = 4096;

impl Server {
    pub(super) fn lookup(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let name = args.name()?;
        let (node, attributes) =
            if head.node == ROOT { self.share(name)? } else { self.look_up(&*self.nodes.get(head.node)?, name)? };
        Self::reply_entry(&node, &attributes, reply);
        Ok(())
    }

    /// A share, by its number.
    fn share(&self, name: &CStr) -> Result<(Arc<Node>, Attributes), Errno> {
        let number: usize = name.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Errno::NOENT)?;
        let root = self.roots.get(number).ok_or(Errno::NOENT)?;
        let fd = rustix::io::dup(root.fd()?.as_fd())?;
        self.nodes.find(&self.jail, fd, root.read_only)
    }

    /// What `name` leads to in `dir`, seen once more.
    pub(super) fn look_up(&self, dir: &Node, name: &CStr) -> Result<(Arc<Node>, Attributes), Errno> {
        let fd = look(dir.dir()?.as_fd(), name)?;
        self.nodes.find(&self.jail, fd, dir.read_only)
    }

    fn reply_made(&self, dir: &Node, name: &CStr, reply: &mut Reply) -> Done {
        let (node, attributes) = self.look_up(dir, name)?;
        Self::reply_entry(&node, &attributes, reply);
        Ok(())
    }

    pub(super) fn readlink(&self, head: &Head, reply: &mut Reply) -> Done {
        let node = self.node(head.node)?;
        let mut text = [0_u8; MAX_LINK];
        let len = rustix::fs::readlinkat_raw(node.fd()?.as_fd(), c"", &mut text[..])?;
        reply.bytes(&text[..len]);
        Ok(())
    }

    pub(super) fn symlink(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (name, text) = (args.name()?, args.text()?);
        let dir = self.node(head.node)?;
        let acting = Acting::new(head, 0)?;
        symlinkat(text, dir.dir()?.as_fd(), name)?;
        drop(acting);
        self.reply_made(&dir, name, reply)
    }

    pub(super) fn mkdir(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (mode, mask) = (args.u32()?, args.u32()?);
        let name = args.name()?;
        let dir = self.node(head.node)?;
        let acting = Acting::new(head, mask)?;
        mkdirat(dir.dir()?.as_fd(), name, Mode::from_raw_mode(mode & PERMISSIONS))?;
        drop(acting);
        self.reply_made(&dir, name, reply)
    }

    /// A pipe and a socket are a name for something in the guest's kernel, a
    /// device of number 0 is an overlay's whiteout. Other devices are refused:
    /// their numbers mean the host's.
    pub(super) fn mknod(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (mode, device, mask, _) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        let name = args.name()?;
        let kind = FileType::from_raw_mode(mode);
        match kind {
            FileType::RegularFile | FileType::Fifo | FileType::Socket => {}
            FileType::CharacterDevice if device == 0 => {}
            _ => return Err(Errno::PERM),
        }
        let dir = self.node(head.node)?;
        let acting = Acting::new(head, mask)?;
        mknodat(dir.dir()?.as_fd(), name, kind, Mode::from_raw_mode(mode & PERMISSIONS), 0)?;
        drop(acting);
        self.reply_made(&dir, name, reply)
    }

    pub(super) fn remove(&self, head: &Head, args: &mut Args<'_>, dir: bool) -> Done {
        let name = args.name()?;
        let flags = if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(self.node(head.node)?.dir()?.as_fd(), name, flags)
    }

    pub(super) fn rename(&self, head: &Head, args: &mut Args<'_>, flags: bool) -> Done {
        let to = args.u64()?;
        let flags = if flags { (args.u32()?, args.u32()?).0 } else { 0 };
        let (old, new) = (args.name()?, args.name()?);
        let flags = RenameFlags::from_bits(flags)
            .filter(|flags| (RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT).contains(*flags))
            .ok_or(Errno::INVAL)?;
        let (from, to) = (self.node(head.node)?, self.node(to)?);
        renameat_with(from.dir()?.as_fd(), old, to.dir()?.as_fd(), new, flags)
    }

    pub(super) fn link(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let node = self.node(args.u64()?)?;
        let name = args.name()?;
        let dir = self.node(head.node)?;
        linkat(node.fd()?.as_fd(), c"", dir.dir()?.as_fd(), name, AtFlags::EMPTY_PATH)?;
        self.reply_made(&dir, name, reply)
    }
}
