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
    within(namespace, move || {
        let how =
            Resolve { flags: libc::O_DIRECTORY, resolve: libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS };
        clone_tree(&open(libc::AT_FDCWD, &path, how)?, false)
    })
}

/// A copy of what lies at `path` as the process `pid` sees it, attached
/// nowhere: links on the way there are followed. With `beneath` it is of what
/// that leads to from there, and no link on that way leads above `path`. What
/// is mounted below is copied as well if `recursive`. Its mounts propagate as
/// those that they are copies of.
///
/// # Errors
/// The kernel's (`EXDEV` where a link leads out); `NotFound` if that process
/// has ended.
pub fn clone_beneath(
    pid: i32,
    start: u64,
    path: &Path,
    beneath: Option<&Path>,
    recursive: bool,
) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    if start_time(pid) != Some(start) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")));
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let beneath = beneath.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
    within(namespace, move || clone_tree(&find(&path, beneath.as_deref())?, recursive))
}

/// What lies at `path`, or `beneath` it, for a mount: see [`clone_beneath`].
///
/// # Errors
/// The kernel's (`EXDEV` where a link leads out).
pub fn open_beneath(path: &Path, beneath: &Path) -> io::Result<OwnedFd> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    find(&text(path)?, Some(&text(beneath)?))
}

/// What lies at `path`, for a mount.
pub(super) fn open_at(path: &Path) -> io::Result<OwnedFd> {
    find(&CString::new(path.as_os_str().as_bytes())?, None)
}

fn find(path: &CStr, beneath: Option<&CStr>) -> io::Result<OwnedFd> {
    let top = open(libc::AT_FDCWD, path, Resolve { flags: 0, resolve: 0 })?;
    let Some(path) = beneath else { return Ok(top) };
    open(top.as_raw_fd(), path, Resolve { flags: 0, resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS })
}

/// A mount namespace is a thread's, as long as it shares its directories with
/// no other: one takes the copy there and ends.
fn within(namespace: File, work: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static) -> io::Result<OwnedFd> {
    let enter = move || {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        work()
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(enter)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that copies a mount has failed")))
}

/// Attaches a mount from [`clone_of`] or [`clone_beneath`] at the existing
/// `target`, a folder for a folder and a file for anything else.
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

/// How a path is opened, besides `O_PATH`.
#[derive(Clone, Copy)]
struct Resolve {
    flags: libc::c_int,
    resolve: u64,
}

/// A rename that comes in the way of `..` makes the kernel give up.
const ATTEMPTS: usize = 128;
/// The first of them without a pause: any rename and any mount on the host is in the way.
const HURRIED: usize = 16;
const PAUSE: std::time::Duration = std::time::Duration::from_micros(500);

fn open(from: libc::c_int, path: &CStr, wanted: Resolve) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero `open_how` is valid; its fields are set below.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC | wanted.flags).cast_unsigned());
    how.resolve = wanted.resolve;
    let mut last = io::Error::other("not tried");
    for attempt in 0..ATTEMPTS {
        // SAFETY: the path is a C string, and `how` lives for the call with its size passed.
        let fd = unsafe {
            libc::syscall(libc::SYS_openat2, from, path.as_ptr(), &raw const how, size_of::<libc::open_how>())
        };
        match owned(fd) {
            Err(err) if err.raw_os_error() == Some(libc::EAGAIN) => last = err,
            other => return other,
        }
        if attempt >= HURRIED {
            std::thread::sleep(PAUSE);
        }
    }
    Err(last)
}

pub(super) fn clone_tree(place: &OwnedFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    // SAFETY: the path is a C string, and the descriptor is open.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, place.as_raw_fd(), c"".as_ptr(), flags) })
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
