//! A mount of another mount namespace, brought into this one.
#![allow(unsafe_code)]
// UNSAFETY: open_tree, move_mount and openat2 have no safe face here.

use crate::process::start_time;
use nix::sched::{CloneFlags, setns, unshare};
use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Enough for a few system calls.
const STACK: usize = 64 << 10;

/// A copy of the mount at `path` as the process `pid` sees it, attached nowhere.
/// `path` is resolved in that process's root, and no link in it is followed.
/// `start` is when the process began: its number may be another's by now.
///
/// # Errors
/// The kernel's; `NotFound` if that process has ended.
pub fn clone_of(pid: i32, start: u64, path: &Path) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    if start_time(pid) != Some(start) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")));
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    // A mount namespace is a thread's, as long as it shares its directories
    // with no other: this one takes the copy and ends.
    let work = move || {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        clone_tree(&open_directory(&path)?)
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that copies a mount has failed")))
}

/// Attaches a mount from [`clone_of`] at the existing folder `target`.
///
/// # Errors
/// The kernel's.
pub fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: both paths are C strings that live for the call, and the
    // descriptor is open.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open_directory(path: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero `open_how` is valid; its fields are set below.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path is a C string, and `how` lives for the call with its size passed.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size_of::<libc::open_how>())
    };
    owned(fd)
}

fn clone_tree(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: the path is a C string, and the descriptor is open.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), c"".as_ptr(), flags) })
}

/// The descriptor that a call has just returned.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let Ok(fd) = i32::try_from(fd) else { return Err(io::Error::other("no descriptor")) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
