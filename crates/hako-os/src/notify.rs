//! System calls of another program that wait for our word (seccomp's user
//! notification): `fallocate` that punches a hole, and `openat` for reading and
//! writing.
//!
//! ```text
//! child: ask_first(socket) ──listener──► Listener::receive
//!        execve, fallocate ── waits ───► next ─► answer: as if done | go on | refused
//!                openat ───── waits ───► next ─► give: another file | go on
//! ```
#![allow(unsafe_code)]
// UNSAFETY: seccomp, its ioctls and a message that is sent between fork and
// exec have no safe face.

use crate::fd;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

/// What is stopped: `fallocate` with exactly this mode.
const MODE: u32 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;

/// `AUDIT_ARCH_*` of `<linux/audit.h>`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`; both hosts are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;
/// The longest path that is looked at.
const MOST_PATH: usize = 64;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn load(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: LOAD, jt: 0, jf: 0, k }
}

/// Skips `jt` instructions where equal, else `jf`.
const fn if_equal(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: IF_EQUAL, jt, jf, k }
}

const fn and(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: AND, jt: 0, jf: 0, k }
}

const fn end(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k }
}

/// The control message of one descriptor, aligned as the kernel wants it.
#[repr(C)]
struct OneFd {
    header: libc::cmsghdr,
    fd: RawFd,
    padding: RawFd,
}

/// Stops this process's holes and its opening of files for reading and writing
/// from now on, in every program that it executes, and sends who answers for them
/// over `socket`. To be called between fork and exec: it allocates nothing. The
/// process gains no rights any more.
///
/// # Errors
/// The kernel's: another such filter is there already (`ResourceBusy`).
pub fn ask_first(socket: BorrowedFd<'_>) -> io::Result<()> {
    const ACCESS: u32 = libc::O_ACCMODE as u32;
    const BOTH: u32 = libc::O_RDWR as u32;
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut program = [
        load(ARCH),
        if_equal(ARCHITECTURE, 0, 9),
        load(NUMBER),
        if_equal(number(libc::SYS_fallocate), 0, 2),
        load(SECOND_ARGUMENT),
        if_equal(MODE, 4, 5),
        if_equal(number(libc::SYS_openat), 0, 4),
        load(THIRD_ARGUMENT),
        and(ACCESS),
        if_equal(BOTH, 0, 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes integers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the filter and its program live through the call.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    let listener = RawFd::try_from(listener).map_err(|_| io::ErrorKind::InvalidData)?;
    let sent = send_one(socket, listener);
    // SAFETY: the descriptor is this function's own.
    unsafe { libc::close(listener) };
    sent
}

fn send_one(socket: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let length = size_of::<libc::cmsghdr>() + size_of::<RawFd>();
    // SAFETY: all zeroes are a valid cmsghdr and msghdr.
    let (mut control, mut message): (OneFd, libc::msghdr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    control.header.cmsg_len = length as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    control.fd = fd;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<OneFd>() as _;
    // SAFETY: everything that the message points to lives through the call.
    if unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Who answers.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// What becomes of a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is made.
    Make,
    /// It is said to be made.
    Pretend,
    /// It is refused, as by a file that can have none.
    Refuse,
}

/// A call that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A hole.
    Hole {
        /// The call.
        id: u64,
        /// The file's number in the program that wants it.
        fd: i32,
    },
    /// A file for reading and writing.
    Open {
        /// The call.
        id: u64,
        /// Its path, as far as it is looked at; it may be another by now.
        path: Vec<u8>,
    },
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// What [`ask_first`] has sent.
    ///
    /// # Errors
    /// It has sent nothing.
    pub fn receive(socket: &UnixStream) -> io::Result<Self> {
        fd::receive(socket).map(Self)
    }

    /// The next call that waits; `None` where none does now. Does not wait.
    ///
    /// # Errors
    /// `NotConnected` once every process with the filter has ended.
    pub fn next(&self) -> io::Result<Option<Call>> {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO)?;
        let events = polled.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            let over = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
            return if over { Err(io::ErrorKind::NotConnected.into()) } else { Ok(None) };
        }
        // SAFETY: all zeroes are a valid seccomp_notif, and the kernel wants them.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a seccomp_notif that lives through the call.
        match unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) } {
            0 if i64::from(call.data.nr) == libc::SYS_openat => {
                Ok(Some(Call::Open { id: call.id, path: path_at(call.pid, call.data.args[1]) }))
            }
            0 => Ok(Some(Call::Hole { id: call.id, fd: call.data.args[0] as i32 })),
            _ => match Errno::last() {
                // It was killed meanwhile.
                Errno::ENOENT | Errno::EINTR => Ok(None),
                err => Err(err.into()),
            },
        }
    }

    /// Answers the call `id`.
    ///
    /// # Errors
    /// The kernel's; that the process has been killed is none.
    pub fn answer(&self, id: u64, word: Word) -> io::Result<()> {
        let (flags, error) = match word {
            Word::Make => (libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32, 0),
            Word::Pretend => (0, 0),
            Word::Refuse => (0, -libc::EOPNOTSUPP),
        };
        let answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
        // SAFETY: the pointer is to a seccomp_notif_resp that lives through the call.
        match unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const answer) } {
            0 => Ok(()),
            _ => match Errno::last() {
                Errno::ENOENT => Ok(()),
                err => Err(err.into()),
            },
        }
    }

    /// Answers the call `id`, which opens a file, with `file`.
    ///
    /// # Errors
    /// The kernel's (`InvalidInput` before 5.14); that the process has been killed is none.
    pub fn give(&self, id: u64, file: BorrowedFd<'_>) -> io::Result<()> {
        let given = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        // SAFETY: the pointer is to a seccomp_notif_addfd that lives through the call.
        match unsafe { libc::ioctl(self.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const given) } {
            0.. => Ok(()),
            _ => match Errno::last() {
                Errno::ENOENT => Ok(()),
                err => Err(err.into()),
            },
        }
    }
}

/// The path at `address` of the process `pid`; empty where it cannot be read.
fn path_at(pid: u32, address: u64) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; MOST_PATH];
    let read = std::fs::File::open(format!("/proc/{pid}/mem")).and_then(|memory| memory.read_at(&mut bytes, address));
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.filter(|end| read.is_ok_and(|read| *end < read)).unwrap_or(0));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command, time::Duration};

    fn wait(listener: &Listener) -> Call {
        loop {
            match listener.next().unwrap() {
                Some(call) => return call,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// One that asks for writing as well gets a file that it can only read.
    #[test]
    fn another_file_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let (asked, given) = (dir.path().join("asked"), dir.path().join("given"));
        std::fs::write(&given, "given").unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<>\"$1\"; cat <&3; echo x 2>/dev/null >&3 || echo refused", "sh"]).arg(&asked);
        command.stdout(std::process::Stdio::piped());
        // SAFETY: what is called allocates nothing.
        unsafe { command.pre_exec(move || ask_first(theirs.as_fd())) };
        let child = command.spawn().unwrap();
        drop(command);
        let listener = Listener::receive(&ours).unwrap();
        let file = std::fs::File::open(&given).unwrap();
        loop {
            let Call::Open { id, path } = wait(&listener) else { panic!("a hole") };
            if path == asked.as_os_str().as_encoded_bytes() {
                listener.give(id, file.as_fd()).unwrap();
                break;
            }
            listener.answer(id, Word::Make).unwrap();
        }
        let said = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "givenrefused\n");
        assert!(!asked.exists());
    }

    /// `fallocate --punch-hole` of three files.
    #[test]
    fn a_hole_is_made_or_not() {
        let dir = tempfile::tempdir().unwrap();
        for word in [Word::Make, Word::Pretend, Word::Refuse] {
            let path = dir.path().join(format!("{word:?}"));
            std::fs::write(&path, vec![1; 8192]).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut command = Command::new("fallocate");
            command.stderr(std::process::Stdio::null());
            command.args(["--punch-hole", "--offset", "0", "--length", "4096"]).arg(&path);
            // SAFETY: what is called allocates nothing.
            unsafe { command.pre_exec(move || ask_first(theirs.as_fd())) };
            let mut child = command.spawn().unwrap();
            drop(command);
            let listener = Listener::receive(&ours).unwrap();
            // It opens the file, and then wants a hole.
            let Call::Open { id, path: opened } = wait(&listener) else { panic!("no file is opened") };
            assert_eq!(opened, path.as_os_str().as_encoded_bytes());
            listener.answer(id, Word::Make).unwrap();
            let Call::Hole { id, fd } = wait(&listener) else { panic!("no hole is made") };
            let held = std::fs::canonicalize(format!("/proc/{}/fd/{fd}", child.id())).unwrap();
            assert_eq!(held, path.canonicalize().unwrap());
            listener.answer(id, word).unwrap();
            assert_eq!(child.wait().unwrap().success(), word != Word::Refuse);
            assert_eq!(listener.next().unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert_eq!(std::fs::read(&path).unwrap()[0], u8::from(word != Word::Make));
        }
    }
}
