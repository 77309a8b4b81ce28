//! Whose a file is that is made: for that moment, this thread is who asked.

use crate::wire::Head;
use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use rustix::io::Errno;

/// While it lives, files that this thread makes are the guest's user's. The
/// thread's capabilities stay: who may is decided in the guest.
#[derive(Debug)]
pub(super) struct Acting(());

impl Acting {
    /// As who sent the request, with this umask.
    pub(super) fn new(head: &Head, mask: u32) -> Result<Self, Errno> {
        // Which is nobody, and for the kernel a question.
        if head.uid == u32::MAX || head.gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        setfsgid(Gid::from_raw(head.gid));
        setfsuid(Uid::from_raw(head.uid));
        umask(Mode::from_bits_truncate(mask & 0o777));
        Ok(Self(()))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        umask(Mode::empty());
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
    }
}
