//! Mounts that are nowhere yet: clones of what is mounted, changed before
//! anybody can see them.
#![allow(unsafe_code)]
// UNSAFETY: `mount_setattr` has no face in libc for this target.

use super::foreign::{attach, clone_tree, open_at, open_beneath};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// A copy of what is mounted somewhere, cut off from all propagation and, if asked, read-only all the way down.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// The copy of `source`, which may be a file, or of what lies `beneath` it
    /// (see [`open_beneath`]), with what is mounted below if `recursive`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn copy(source: &Path, beneath: &Path, recursive: bool, read_only: bool) -> io::Result<Self> {
        let place = if beneath.as_os_str().is_empty() { open_at(source) } else { open_beneath(source, beneath) }?;
        let tree = Self(clone_tree(&place, recursive)?);
        tree.change(read_only)?;
        Ok(tree)
    }

    fn change(&self, read_only: bool) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
            attr_clr: 0,
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        };
        let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
        // SAFETY: the structure is valid for reading, and its size is given.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Mounts it on `target`, which is of the same kind.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(&self, target: &Path) -> io::Result<()> {
        attach(&self.0, target)
    }

    /// Whether it is the copy of a directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_dir(&self) -> io::Result<bool> {
        Ok(nix::sys::stat::fstat(self.0.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }
}
