//! File descriptors: inherited ones, and those that come over a socket.
#![allow(unsafe_code)]
// UNSAFETY: a descriptor that another process gave us is a bare number until it
// is owned; only its receiver can say that nobody else owns it.

use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt},
    },
};
use std::{
    ffi::CStr,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
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
    let listens = |fd: &OwnedFd| getsockopt(fd, sockopt::AcceptConn).unwrap_or(false);
    Ok(take_standard(number, listens)?.map(UnixListener::from))
}

/// Takes what this program was given in the place of standard input or output,
/// if it `is` what it should be, and leaves `/dev/null` there.
///
/// # Errors
/// The kernel's.
pub fn take_standard(number: RawFd, is: impl FnOnce(&OwnedFd) -> bool) -> io::Result<Option<OwnedFd>> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes no memory; a number that is not
    // open is refused.
    let taken = match Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }) {
        // SAFETY: the call has just returned this descriptor; nobody else has it.
        Ok(taken) => unsafe { OwnedFd::from_raw_fd(taken) },
        Err(Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !is(&taken) {
        return Ok(None);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: dup2 takes no memory. Who uses the standard descriptors does so by
    // their numbers, which stay open.
    Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) })?;
    Ok(Some(taken))
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

/// As [`memory_file`], which may grow and shrink.
///
/// # Errors
/// The kernel's.
pub fn loose_memory_file(name: &CStr, size: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.set_len(size)?;
    Ok(file)
}

/// A pipe that holds `content`, at its end.
///
/// # Errors
/// The kernel's; `InvalidInput` if it is more than a pipe may hold.
pub fn filled_pipe(content: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let size = libc::c_int::try_from(content.len().max(1)).map_err(|_| io::ErrorKind::InvalidInput)?;
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(size))?;
    File::from(writer).write_all(content).map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::InvalidInput.into(),
        _ => err,
    })?;
    // Who reads it need not know that it is short.
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(reader)
}

/// Sends `fds` (`SCM_RIGHTS`) with `bytes`, of which there is at least one.
///
/// # Errors
/// The kernel's; `WouldBlock` where the socket does not block and is full.
pub fn send(socket: &impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &control };
    let iov = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(socket.as_fd().as_raw_fd(), &iov, control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives one descriptor (`SCM_RIGHTS`) from `socket`; with close-on-exec set.
///
/// # Errors
/// The kernel's, and `InvalidData` if the message carries none.
pub fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let (_, received) = receive_all(socket, &mut [0; 256])?;
    received
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor in the message"))
}

/// Receives what one message of `socket` has: its length, and the descriptors
/// (`SCM_RIGHTS`, at most four) with close-on-exec set.
///
/// # Errors
/// The kernel's.
pub fn receive_all(socket: &impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut iov = [IoSliceMut::new(bytes)];
    let mut space = cmsg_space!([RawFd; 4]);
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this
            // process, and this loop is the only one that sees the numbers.
            received.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes, received))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_pipe_holds_what_fits() {
        let content = vec![7; 300_000];
        let mut read = Vec::new();
        File::from(filled_pipe(&content).unwrap()).read_to_end(&mut read).unwrap();
        assert_eq!(read, content);
    }

    #[test]
    fn descriptors_travel() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = memory_file(c"hako-test", 5).unwrap();
        send(&here, b"x", &[file.as_fd()]).unwrap();
        assert_eq!(File::from(receive(&there).unwrap()).metadata().unwrap().len(), 5);
    }
}
