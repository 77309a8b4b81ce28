//! Network namespaces, for those who have one thing to do in one.
#![allow(unsafe_code)]
// UNSAFETY: an interface's flags are set by an ioctl that has no safe face.

use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    thread,
};

mod ioctl {
    //! What the macros make is not for others.
    #![allow(missing_docs)]
    nix::ioctl_read_bad!(flags, libc::SIOCGIFFLAGS as libc::c_ulong, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS as libc::c_ulong, libc::ifreq);
}

/// Runs `work` in the network namespace at `path`, on a thread that lives only
/// for it: the caller's namespace stays as it is.
///
/// # Errors
/// The kernel's, and those of `work`.
pub fn within<T: Send>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let netns = File::open(path)?;
    let enter = || -> io::Result<T> {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    };
    let joined = thread::scope(|scope| scope.spawn(enter).join());
    joined.unwrap_or_else(|_| Err(io::Error::other("the thread in a network namespace panicked")))
}

/// Runs `work` in a new network namespace, which stays for as long as what
/// `work` answers keeps it.
///
/// # Errors
/// The kernel's, and those of `work`.
pub fn in_new<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let enter = || -> io::Result<T> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        work()
    };
    let joined = thread::scope(|scope| scope.spawn(enter).join());
    joined.unwrap_or_else(|_| Err(io::Error::other("the thread in a network namespace panicked")))
}

/// Unmounts every namespace that is mounted at a path in the mount namespace of
/// the caller, but those of the file name `keep`. A copy of a mount namespace
/// has copies of these mounts, each of which keeps a namespace alive that
/// others remove.
///
/// # Errors
/// The kernel's, of reading what is mounted.
pub fn keep_only(keep: &str) -> io::Result<()> {
    for path in mounted(&std::fs::read_to_string("/proc/self/mountinfo")?, keep) {
        // One that has gone meanwhile, or is hidden by another mount, keeps nothing that we could end.
        let _ = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    Ok(())
}

/// Paths of namespaces, whose last part is not `keep`.
fn mounted<'a>(mountinfo: &'a str, keep: &str) -> Vec<&'a Path> {
    let path = |line: &'a str| {
        let (mount, kind) = line.split_once(" - ")?;
        let path = Path::new(mount.split(' ').nth(4)?);
        (kind.starts_with("nsfs ") && path.file_name()? != keep).then_some(path)
    };
    mountinfo.lines().filter_map(path).collect()
}

/// Sets `lo` of the calling thread's namespace up.
///
/// # Errors
/// The kernel's.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes are a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: an open socket, and an ifreq that lives through the call, which writes its flags.
    unsafe { ioctl::flags(socket.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the call before has made the flags the union's valid member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: an open socket, and an ifreq that lives through the call.
    unsafe { ioctl::set_flags(socket.as_raw_fd(), &raw const request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_namespaces_are_found() {
        let text = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                    30 27 0:4 net:[1] /run/hako/netns/one rw shared:5 - nsfs nsfs rw\n\
                    31 27 0:4 net:[2] /run/hako/netns/two rw - nsfs nsfs rw\n";
        assert_eq!(mounted(text, "one"), [Path::new("/run/hako/netns/two")]);
        assert_eq!(mounted(text, "").len(), 2);
    }
}
