//! Calls to the kernel for which no crate has a safe face.
#![allow(unsafe_code)]
// UNSAFETY: system calls with pointers to memory that is borrowed for the call.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::{FileStat, Mode};
use std::ffi::{CStr, CString, OsStr, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One instruction of classic BPF, `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// One instruction of eBPF, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfInsn {
    /// Operation.
    pub code: u8,
    /// Destination in the low four bits, source in the high four.
    pub regs: u8,
    /// Offset.
    pub off: i16,
    /// Operand.
    pub imm: i32,
}

/// Puts a seccomp filter on this process, for good.
pub fn load_filter(program: &[SockFilter], flags: u32) -> nix::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let prog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `prog` points to `len` instructions with the layout of
    // `sock_filter`, both alive until the call returns; the kernel copies them.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, c_long::from(flags), &prog) };
    Errno::result(ret).map(drop)
}

/// Has the kernel map this process's memory as it is: no access to it faults
/// from then on, for a while at least.
pub fn populate_memory() -> std::io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for (start, len, writable) in maps.lines().filter_map(private_map) {
        let advice = if writable { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
        // SAFETY: populating changes no content and unmaps nothing; the kernel
        // checks the range, of which nothing is touched here.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), len, advice) };
    }
    Ok(())
}

/// Start, length and whether it may be written, of a line of `/proc/<pid>/maps`
/// whose memory is this process's or of its file.
fn private_map(line: &str) -> Option<(usize, usize, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    // The kernel's own pages (`[vvar]`, `[vdso]`) are there in any case.
    if !access.starts_with('r') || !access.ends_with('p') || line.contains("[v") {
        return None;
    }
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?, access.as_bytes().get(1) == Some(&b'w')))
}

/// Sends any signal, real-time ones too; `signal` 0 only asks.
pub fn kill(pid: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call has just returned this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Puts `fd` in the place of one of the three standard descriptors.
pub fn dup_to(fd: BorrowedFd<'_>, number: i32) -> nix::Result<()> {
    // SAFETY: no memory is passed; nobody owns the standard descriptors.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// The kernel's `sigaction` of the default: no handler, no flags, no mask.
static DEFAULT_ACTION: [u64; 4] = [0; 4];
/// Signals that there are, from 1.
const SIGNALS: c_long = 64;

/// Ends what this process, or who started it, ignores or blocks: Rust's runtime
/// ignores SIGPIPE, a shell's background job SIGINT and SIGQUIT, and all of it
/// would outlive an exec.
pub fn reset_signals() {
    for signal in 1..=SIGNALS {
        // The C library keeps two signals to itself and refuses them. SIGKILL and
        // SIGSTOP the kernel refuses; they have their default always.
        // SAFETY: the action lives for the call, and its mask has the size that is passed.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const DEFAULT_ACTION, std::ptr::null::<u64>(), 8_usize)
        };
    }
    // An empty set is a valid one.
    let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives this process, and what it starts, a keyring of its own.
pub fn join_session_keyring(name: &CStr) -> nix::Result<()> {
    // SAFETY: `name` is a C string that lives for the call.
    let ret =
        unsafe { libc::syscall(libc::SYS_keyctl, c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING), name.as_ptr()) };
    Errno::result(ret).map(drop)
}

/// Sets a terminal's size.
pub fn set_window_size(tty: BorrowedFd<'_>, rows: u16, cols: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize`, which lives for the call.
    Errno::result(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &size) }).map(drop)
}

/// Brings the network interface `name` up, in this process's network namespace.
pub fn interface_up(name: &CStr) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a zeroed `ifreq` is valid: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let last = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..last].iter_mut().zip(name.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags of `request`.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: the call above has filled the flags of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: SIOCSIFFLAGS reads the name and the flags.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// Runs this program again from a read-only mount of its file that no
/// namespace has; returns only if that fails.
pub fn exec_from_sealed_mount(args: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string; the result is checked before its use.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), flags) };
    if fd < 0 {
        return Errno::last();
    }
    // SAFETY: the call has just returned this descriptor; nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (raw, empty) = (fd.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: the attribute lives for the call and its size is passed.
    let ret = unsafe {
        libc::syscall(libc::SYS_mount_setattr, raw, c"".as_ptr(), empty, &attr, size_of::<libc::mount_attr>())
    };
    if ret < 0 {
        return Errno::last();
    }
    // SAFETY: both arrays end with a null pointer and point to C strings that live for the call.
    unsafe { libc::syscall(libc::SYS_execveat, raw, c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), empty) };
    Errno::last()
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` reads.
#[repr(C)]
#[derive(Default)]
struct ProgAttach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_ATTACH: c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a device program into the kernel.
pub fn load_device_program(program: &[BpfInsn]) -> nix::Result<OwnedFd> {
    let load = ProgLoad {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        ..ProgLoad::default()
    };
    // SAFETY: the attribute points to `insn_cnt` instructions with the layout
    // of `bpf_insn` and to a C string; all live until the call returns.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &load, size_of::<ProgLoad>()) };
    let fd = Errno::result(ret)?;
    // SAFETY: the call has just returned this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a loaded device program to a cgroup; it stays as long as the cgroup does.
pub fn attach_device_program(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> nix::Result<()> {
    let attach = ProgAttach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attribute holds numbers only and lives for the call.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &attach, size_of::<ProgAttach>()) };
    Errno::result(ret).map(drop)
}

/// Which side of a clone this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The old one, and the new one's number.
    Parent(i32),
}

/// Of linux/sched.h; the `libc` crate's has 32 bits too few.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process like fork does, with namespaces of its own, and where
/// `cgroup` is given in that group of version 2. For a process of one thread.
pub fn clone_process(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    // SAFETY: all zero is a valid `clone_args`: no pointer in it is used then.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.bits().cast_unsigned());
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no memory is shared and no stack given, so this is a fork; the
    // process has one thread, so that its copy finds every lock free. The
    // arguments live for the call, and their size is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent(pid as i32)),
    }
}

/// Ends this process, and runs nothing that its parent has registered.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// Enters namespaces: one by its own descriptor, or several of a pidfd's process.
pub fn setns(fd: BorrowedFd<'_>, kinds: CloneFlags) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::setns(fd.as_raw_fd(), kinds.bits()) }).map(drop)
}

/// Changes the attributes of a mount, and of all below it if `recursive`.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, set: u64, clear: u64) -> nix::Result<()> {
    let flags = if recursive { libc::AT_EMPTY_PATH | libc::AT_RECURSIVE } else { libc::AT_EMPTY_PATH };
    set_attributes(mount.as_raw_fd(), c"", flags, set, clear)
}

/// Sets attributes of the mount at `path`.
pub fn mount_setattr_at(path: &CStr, set: u64) -> nix::Result<()> {
    set_attributes(libc::AT_FDCWD, path, 0, set, 0)
}

fn set_attributes(at: i32, path: &CStr, flags: i32, attr_set: u64, attr_clr: u64) -> nix::Result<()> {
    let attr = libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string; the attribute lives for the call and its size is passed.
    let ret = unsafe {
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &raw const attr, size_of::<libc::mount_attr>())
    };
    Errno::result(ret).map(drop)
}

/// Closes every descriptor but stdio and `kept`. Those that own the others must
/// not use or drop them any more: it is for a process that ends, or execs.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.into_iter().chain([u32::MAX]) {
        let end = if last == u32::MAX { last } else { last.saturating_sub(1) };
        if end >= first {
            // SAFETY: no memory is passed; who owns what is closed keeps away from it.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) })?;
        }
        first = first.max(last.saturating_add(1));
    }
    Ok(())
}

/// The NIS domain of this process's uts namespace.
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: the bytes live for the call, and their number is passed.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Makes a terminal this session's.
pub fn set_controlling_terminal(tty: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// What the standard descriptor `number` is.
pub fn stat_of(number: i32) -> nix::Result<FileStat> {
    // SAFETY: all zero is a valid one, and the call fills it; a number that is not open is an error.
    let mut stat: FileStat = unsafe { std::mem::zeroed() };
    // SAFETY: it lives for the call.
    Errno::result(unsafe { libc::fstat(number, &raw mut stat) })?;
    Ok(stat)
}

/// A directory, for [`in_directory`].
pub fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// A short path to `name` in it: a socket's address has 108 bytes.
pub fn in_directory(dir: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}
