//! File descriptors: inherited ones, and those that come over a socket.
#![allow(unsafe_code)]
// UNSAFETY: a descriptor that another process gave us is a bare number until it
// is owned; only its receiver can say that nobody else owns it.

use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sockopt},
    },
};
use std::{
    ffi::CStr,
    fs::File,
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

/// Takes the inherited descriptor `number`, if it is open, and sets
/// close-on-exec, so that no child gets it.
///
/// Call it at the start of `main`, once for each number, before anything that
/// opens files: later the number may be somebody else's.
#[must_use]
pub fn take_inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl with F_GETFD and F_SETFD takes and changes no memory; on a
    // number that is not open it fails with EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is open, and by this function's contract no other
    // part of this process has opened it or taken it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes the listening socket that this program was given in the place of
/// standard input or output, if it is one, and leaves `/dev/null` there.
///
/// # Errors
/// The kernel's.
pub fn take_listener(number: RawFd) -> io::Result<Option<UnixListener>> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes no memory; a number that is not
    // open is refused.
    let taken = match Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }) {
        // SAFETY: the call has just returned this descriptor; nobody else has it.
        Ok(taken) => unsafe { OwnedFd::from_raw_fd(taken) },
        Err(Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !getsockopt(&taken, sockopt::AcceptConn).unwrap_or(false) {
        return Ok(None);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: dup2 takes no memory. Who uses the standard descriptors does so by
    // their numbers, which stay open.
    Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) })?;
    Ok(Some(UnixListener::from(taken)))
}

/// A file that is nothing but `size` bytes of zeroed memory, and stays as long.
///
/// # Errors
/// The kernel's.
pub fn memory_file(name: &CStr, size: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.set_len(size)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Receives one descriptor (`SCM_RIGHTS`) from `socket`; with close-on-exec set.
///
/// # Errors
/// The kernel's, and `InvalidData` if the message carries none.
pub fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0_u8; 256];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; 4]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this
            // process, and this loop is the only one that sees the numbers.
            received.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    received
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor in the message"))
}
