//! Owner, mode, attributes and times of a file that may be anything, by a
//! descriptor of it: its name may lead elsewhere by now.

use crate::{metadata, tarread::Entry};
use rustix::{
    fs::{self, AtFlags, CWD, Gid, Mode, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::CString,
    os::fd::{AsRawFd, BorrowedFd},
};

/// All attributes of one file together; more would not fit a tar's head.
const MAX_BYTES: usize = 256 << 10;

/// Attributes that are copied: the user's own and file capabilities. What a
/// security module or an overlay has written means nothing elsewhere.
fn copied(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn place(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The attributes of a regular file or a directory.
pub(super) fn read(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let place = place(fd);
    let mut list = vec![0; 4096];
    let len = match fs::listxattr(&place, list.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            list.resize(64 << 10, 0);
            fs::listxattr(&place, list.as_mut_slice())?
        }
        Err(err) => return Err(err),
    };
    let mut found = Vec::new();
    let mut total = 0;
    for name in list[..len].split(|b| *b == 0).filter(|name| copied(name)) {
        let mut value = vec![0; 64 << 10];
        match fs::getxattr(&place, name, value.as_mut_slice()) {
            Ok(len) => value.truncate(len),
            // Removed since, or not for us.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => continue,
            Err(err) => return Err(err),
        }
        value.shrink_to_fit();
        total += name.len() + value.len();
        if total > MAX_BYTES {
            return Err(Errno::TOOBIG);
        }
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// Gives a file what its entry says.
pub(super) fn write(fd: BorrowedFd<'_>, entry: &Entry, is_link: bool) -> rustix::io::Result<()> {
    let id = |n: u64| u32::try_from(n).ok().filter(|n| *n != u32::MAX).ok_or(Errno::INVAL);
    let (uid, gid) = (Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?));
    // Owner first: a change of owner clears setuid and `security.capability`.
    fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let place = place(fd);
    if !is_link {
        fs::chmodat(CWD, &place, Mode::from(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| metadata::allowed(name)) {
        let name = CString::new(name.as_slice()).map_err(|_| Errno::INVAL)?;
        match fs::setxattr(&place, name.as_c_str(), value, XattrFlags::empty()) {
            // As Docker: what the filesystem does not take is left out.
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(err) => return Err(err),
        }
    }
    set_times(fd, entry.mtime)
}

/// Sets the times of a file.
pub(super) fn set_times(fd: BorrowedFd<'_>, mtime: (i64, u32)) -> rustix::io::Result<()> {
    fs::utimensat(CWD, place(fd), &metadata::timestamps(mtime), AtFlags::empty())
}
