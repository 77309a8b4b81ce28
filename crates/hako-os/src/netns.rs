//! Network namespaces, for those who have one thing to do in one.
#![allow(unsafe_code)]
// UNSAFETY: an interface's flags are set by an ioctl that has no safe face.

use nix::{
    sched::{CloneFlags, setns},
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

/// Sets `lo` of the calling thread's namespace up.
///
/// # Errors
/// The kernel's.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes are a valid ifreq: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
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
