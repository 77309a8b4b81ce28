//! What a request does.

mod attr;
mod dir;
mod entry;
mod file;
mod owner;
mod xattr;

use crate::{
    locks::{Answer, Wanted},
    nodes::{Node, ROOT, Version},
    server::Server,
    wire::{Args, Attributes, Head, MAJOR, MAX_IO, MINOR, Reply, init, op},
};
use rustix::{
    fs::{FileType, StatVfs},
    io::Errno,
};
use std::{
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
};

type Done = Result<(), Errno>;

/// How long the guest may believe a name and what it leads to: others change them.
const SECONDS: u64 = 1;
/// Requests under way that nobody waits for, reads ahead and writes back.
const BACKGROUND: u16 = 64;

impl Server {
    /// Serves one request; `None` is no reply, or a later one.
    pub(crate) fn serve(self: &Arc<Self>, head: &Head, body: &[u8], reply: &mut Reply) -> Option<Done> {
        let mut args = Args(body);
        let args = &mut args;
        Some(match head.opcode {
            op::FORGET => {
                if let Ok(lookups) = args.u64() {
                    self.nodes.forget(head.node, lookups);
                }
                return None;
            }
            op::BATCH_FORGET => {
                // A list that breaks off says no more.
                let _ = self.batch_forget(args);
                return None;
            }
            op::INTERRUPT => {
                self.interrupt(args);
                return None;
            }
            op::DESTROY => return None,
            op::SETLK | op::SETLKW => match self.set_lock(head, args) {
                Ok(Answer::Later) => return None,
                Ok(Answer::Done) => Ok(()),
                Err(err) => Err(err),
            },
            _ => self.answer(head, args, reply),
        })
    }

    fn answer(self: &Arc<Self>, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        match head.opcode {
            op::INIT => self.init(args, reply),
            op::LOOKUP => self.lookup(head, args, reply),
            op::GETATTR => self.getattr(head, args, reply),
            op::SETATTR => self.setattr(head, args, reply),
            op::READLINK => self.readlink(head, reply),
            op::SYMLINK => self.symlink(head, args, reply),
            op::MKNOD => self.mknod(head, args, reply),
            op::MKDIR => self.mkdir(head, args, reply),
            op::UNLINK => self.remove(head, args, false),
            op::RMDIR => self.remove(head, args, true),
            op::RENAME => self.rename(head, args, false),
            op::RENAME2 => self.rename(head, args, true),
            op::LINK => self.link(head, args, reply),
            op::OPEN => self.open(head, args, reply),
            op::CREATE => self.create(head, args, reply),
            op::TMPFILE => self.tmpfile(head, args, reply),
            op::READ => self.read(head, args, reply),
            op::WRITE => self.write(head, args, reply),
            op::STATFS => self.statfs(head, reply),
            op::RELEASE | op::RELEASEDIR => self.release(head, args),
            op::FLUSH => self.flush(head, args),
            op::FSYNC | op::FSYNCDIR => self.fsync(head, args),
            op::FALLOCATE => self.fallocate(head, args),
            op::LSEEK => self.lseek(head, args, reply),
            op::COPY_FILE_RANGE => self.copy_file_range(head, args, reply),
            op::OPENDIR => self.opendir(head, reply),
            op::READDIR => self.readdir(head, args, reply, false),
            op::READDIRPLUS => self.readdir(head, args, reply, true),
            op::SETXATTR => self.setxattr(head, args),
            op::GETXATTR => self.getxattr(head, args, reply),
            op::LISTXATTR => self.listxattr(head, args, reply),
            op::REMOVEXATTR => self.removexattr(head, args),
            op::GETLK => self.get_lock(head, args, reply),
            op::IOCTL => Err(Errno::NOTTY),
            _ => Err(Errno::NOSYS),
        }
    }

    fn init(&self, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (major, _minor, read_ahead, flags) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        if major < MAJOR {
            return Err(Errno::PROTO);
        }
        let more = if u64::from(flags) & init::INIT_EXT != 0 { args.u32()? } else { 0 };
        let agreed = (u64::from(flags) | u64::from(more) << 32) & init::WANTED;
        self.agreed.store(agreed, Ordering::Relaxed);
        let halves = [agreed as u32, (agreed >> 32) as u32];
        reply.u32(MAJOR);
        reply.u32(MINOR);
        reply.u32(read_ahead.max(MAX_IO as u32));
        reply.u32(halves[0]);
        reply.u32(u32::from(BACKGROUND) | u32::from(BACKGROUND / 4 * 3) << 16);
        reply.u32(MAX_IO as u32);
        reply.u32(1);
        // Of 4 KiB, the smallest that there are.
        reply.u32((MAX_IO / 4096) as u32);
        reply.u32(halves[1]);
        reply.bytes(&[0; 28]);
        Ok(())
    }

    /// A node that is no root of the mount, whose names are not the guest's to change.
    fn node(&self, id: u64) -> Result<Arc<Node>, Errno> {
        if id == ROOT { Err(Errno::ROFS) } else { self.nodes.get(id) }
    }

    fn batch_forget(&self, args: &mut Args<'_>) -> Done {
        let (count, _) = (args.u32()?, args.u32()?);
        for _ in 0..count {
            self.nodes.forget(args.u64()?, args.u64()?);
        }
        Ok(())
    }

    fn interrupt(&self, args: &mut Args<'_>) {
        let Ok(unique) = args.u64() else { return };
        // Only locks take so long that it matters.
        if self.locks.interrupt(unique) {
            let mut reply = Reply::default();
            reply.clear();
            reply.seal(unique, -Errno::INTR.raw_os_error());
            // Whoever reads the connection's end hears of it.
            let _ = self.send(&reply.0);
        }
    }

    fn wanted(&self, head: &Head, args: &mut Args<'_>) -> Result<Wanted, Errno> {
        Wanted::parse(args, head.unique, head.node, &self.nodes, |fh| self.opened.get(fh, head.node))
    }

    fn set_lock(self: &Arc<Self>, head: &Head, args: &mut Args<'_>) -> Result<Answer, Errno> {
        let wanted = self.wanted(head, args)?;
        let answer = self.locks.ask(&self.jail, wanted, head.opcode == op::SETLKW);
        if self.locks.needs_thread() {
            self.add_lock_thread();
        }
        answer
    }

    fn get_lock(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (kind, start, end) = self.locks.test(&self.jail, &self.wanted(head, args)?)?;
        reply.u64(start);
        reply.u64(end);
        reply.u32(kind.cast_unsigned());
        // A process of another kernel, or one that this one does not name.
        reply.u32(0);
        Ok(())
    }

    fn statfs(&self, head: &Head, reply: &mut Reply) -> Done {
        let node = if head.node == ROOT { self.roots.first().cloned() } else { Some(self.nodes.get(head.node)?) };
        let node = node.ok_or(Errno::NOENT)?;
        let StatVfs { f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_namemax, .. } =
            rustix::fs::fstatvfs(node.fd()?.as_fd())?;
        for number in [f_blocks, f_bfree, f_bavail, f_files, f_ffree] {
            reply.u64(number);
        }
        for number in [f_bsize, f_namemax, f_frsize, 0] {
            reply.u32(u32::try_from(number).unwrap_or(u32::MAX));
        }
        reply.bytes(&[0; 24]);
        Ok(())
    }

    /// Remembers what the guest is about to hear of a node.
    fn tell(node: &Node, attributes: &Attributes) {
        if node.kind == FileType::RegularFile {
            node.told().attributes = Some(Version::of(&attributes.stat));
        }
    }

    fn reply_entry(node: &Node, attributes: &Attributes, reply: &mut Reply) {
        Self::tell(node, attributes);
        reply.entry(node.id, attributes, SECONDS);
    }

    fn reply_attributes(attributes: &Attributes, reply: &mut Reply) {
        reply.u64(SECONDS);
        reply.u64(0);
        reply.attributes(attributes);
    }
}
