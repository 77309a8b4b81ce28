//! Extended attributes. Those that mean something to the host's kernel beyond
//! the file itself are not the guest's.

use super::Done;
use crate::{
    nodes::number,
    server::Server,
    wire::{Args, Head, Reply, init},
};
use rustix::{fs::XattrFlags, io::Errno};
use std::{ffi::CStr, os::fd::AsFd, sync::atomic::Ordering};

/// The longest value, and the longest list, as the kernel has them.
const MAX_VALUE: usize = 64 << 10;
/// What most lists are within.
const SHORT_LIST: usize = 4 << 10;
/// The ACL that is set takes the set-group-ID bit.
const ACL_KILL_SGID: u32 = 1 << 0;
const SET_GID: u32 = 0o2000;

/// Whether a guest may have to do with it.
fn allowed(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
}

fn checked<'a>(args: &mut Args<'a>) -> Result<&'a CStr, Errno> {
    let name = args.text()?;
    if allowed(name.to_bytes()) { Ok(name) } else { Err(Errno::OPNOTSUPP) }
}

// The calls take paths only, for descriptors such as ours; the working directory
// of the thread is `/proc/self/fd`.
impl Server {
    pub(super) fn getxattr(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (size, _) = (args.u32()?, args.u32()?);
        let name = checked(args)?;
        let node = self.node(head.node)?;
        let fd = node.fd()?;
        if size == 0 {
            let len = rustix::fs::getxattr_query(number(fd.as_fd()), name)?;
            reply.u64(len as u64);
            return Ok(());
        }
        let mut value = vec![0; usize::try_from(size).unwrap_or(MAX_VALUE).min(MAX_VALUE)];
        let len = rustix::fs::getxattr(number(fd.as_fd()), name, &mut value[..])?;
        reply.bytes(&value[..len]);
        Ok(())
    }

    pub(super) fn listxattr(&self, head: &Head, args: &mut Args<'_>, reply: &mut Reply) -> Done {
        let (size, _) = (args.u32()?, args.u32()?);
        let node = self.node(head.node)?;
        let fd = node.fd()?;
        let mut list = vec![0_u8; SHORT_LIST];
        let len = match rustix::fs::listxattr(number(fd.as_fd()), &mut list[..]) {
            Err(Errno::RANGE) => {
                list.resize(MAX_VALUE, 0);
                rustix::fs::listxattr(number(fd.as_fd()), &mut list[..])?
            }
            len => len?,
        };
        let mut names = Vec::new();
        for name in list[..len].split_inclusive(|byte| *byte == 0) {
            if allowed(name.strip_suffix(b"\0").unwrap_or(name)) {
                names.extend_from_slice(name);
            }
        }
        // The names, or only how long they are.
        if size == 0 {
            reply.u64(names.len() as u64);
        } else if names.len() > usize::try_from(size).unwrap_or(usize::MAX) {
            return Err(Errno::RANGE);
        } else {
            reply.bytes(&names);
        }
        Ok(())
    }

    pub(super) fn setxattr(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let (size, flags) = (args.u32()?, args.u32()?);
        let more = self.agreed.load(Ordering::Relaxed) & init::SETXATTR_EXT != 0;
        let more = if more { (args.u32()?, args.u32()?).0 } else { 0 };
        let name = checked(args)?;
        let value = args.bytes(usize::try_from(size).unwrap_or(usize::MAX))?;
        if value.len() > MAX_VALUE {
            return Err(Errno::TOOBIG);
        }
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        let node = self.node(head.node)?;
        let fd = node.fd()?;
        rustix::fs::setxattr(number(fd.as_fd()), name, value, flags)?;
        if more & ACL_KILL_SGID != 0 {
            self.strip_group(fd.as_fd())?;
        }
        Ok(())
    }

    fn strip_group(&self, fd: std::os::fd::BorrowedFd<'_>) -> Done {
        let mode = u32::from(crate::nodes::stat(fd)?.stx_mode) & super::entry::PERMISSIONS;
        if mode & SET_GID == 0 { Ok(()) } else { self.change_mode(fd, mode & !SET_GID) }
    }

    pub(super) fn removexattr(&self, head: &Head, args: &mut Args<'_>) -> Done {
        let name = checked(args)?;
        let node = self.node(head.node)?;
        let fd = node.fd()?;
        rustix::fs::removexattr(number(fd.as_fd()), name)
    }
}
