//! What an entry has besides its data: owner, mode, attributes, times.

use crate::tarread::{Entry, EntryKind};
use rustix::{
    fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// The same time for access and change.
pub(crate) fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}

fn owner(entry: &Entry) -> rustix::io::Result<(Option<Uid>, Option<Gid>)> {
    // The highest number means "leave as it is" to the kernel.
    let id = |n: u64| u32::try_from(n).ok().filter(|n| *n != u32::MAX).ok_or(Errno::INVAL);
    Ok((Some(Uid::from_raw(id(entry.uid)?)), Some(Gid::from_raw(id(entry.gid)?))))
}

/// Attributes that a layer may set: none that overlayfs reads as its own.
pub(crate) fn allowed(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
}

/// Docker ignores what the filesystem does not support, and `user.` attributes
/// where they cannot be.
fn tolerate(name: &[u8], result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        other => other,
    }
}

/// Owner first: a change of owner clears setuid and `security.capability`.
pub(crate) fn set_metadata(fd: &OwnedFd, entry: &Entry) -> rustix::io::Result<()> {
    let (uid, gid) = owner(entry)?;
    fs::fchown(fd, uid, gid)?;
    fs::fchmod(fd, Mode::from(entry.mode))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| allowed(name)) {
        let key = CString::new(name.as_slice()).map_err(|_| Errno::INVAL)?;
        tolerate(name, fs::fsetxattr(fd, key.as_c_str(), value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// The same for what must not be opened: links, devices, FIFOs.
pub(crate) fn set_metadata_at(dir: impl AsFd, name: &CStr, entry: &Entry) -> rustix::io::Result<()> {
    let dir = dir.as_fd();
    let (uid, gid) = owner(entry)?;
    fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if entry.kind != EntryKind::Symlink {
        fs::chmodat(dir, name, Mode::from(entry.mode), AtFlags::empty())?;
    }
    let mut full = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    full.extend_from_slice(name.to_bytes());
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| allowed(key)) {
        let c_key = CString::new(key.as_slice()).map_err(|_| Errno::INVAL)?;
        let path = CString::new(full.as_slice()).map_err(|_| Errno::INVAL)?;
        tolerate(key, fs::lsetxattr(path.as_c_str(), c_key.as_c_str(), value, XattrFlags::empty()))?;
    }
    fs::utimensat(dir, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}
