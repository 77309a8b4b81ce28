//! Mounts that are nowhere yet: clones of what is mounted, changed before
//! anybody can see them.
#![allow(unsafe_code)]
// UNSAFETY: `mount_setattr` has no face in libc for this target.

use super::foreign::attach;
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// A copy of what is mounted at `source`, with the mounts below it, cut off
/// from all propagation and, if asked, read-only all the way down.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// The copy of `source`, which may be a file.
    ///
    /// # Errors
    /// The kernel's.
    pub fn copy(source: &Path, read_only: bool) -> io::Result<Self> {
        let path = CString::new(source.as_os_str().as_bytes())?;
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
        // SAFETY: the path is a C string; the call answers a descriptor or an error.
        let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel has just made this descriptor, for nobody else.
        let tree = Self(unsafe { OwnedFd::from_raw_fd(fd) });
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
