//! A program from a mount of its own that nobody can write to.
#![allow(unsafe_code)]
// UNSAFETY: open_tree and mount_setattr have no safe face here.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// The file at `path` in a read-only mount that no namespace has. Executed by
/// this descriptor (`/proc/self/fd/<n>`), a program has no writable file that
/// `/proc/<pid>/exe` could lead to.
///
/// # Errors
/// The kernel's.
pub fn sealed(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that lives for the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call has just returned this descriptor; nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the attribute lives for the call and its size is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

#[cfg(test)]
mod tests {
    use super::sealed;
    use std::{
        fs::{self, OpenOptions},
        os::fd::AsRawFd,
        process::Command,
    };

    #[test]
    fn it_runs_and_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("true");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let fd = sealed(&program).unwrap();
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(Command::new(&path).arg("--list").output().unwrap().status.success());
        let err = OpenOptions::new().write(true).open(&path).unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::EROFS));
        OpenOptions::new().write(true).open(&program).unwrap();
    }
}
