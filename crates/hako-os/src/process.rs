//! Children, signals, and the memory that a small process keeps.
#![allow(unsafe_code)]
// UNSAFETY: nix names only the 31 classic signals, and a container may die of a
// real-time one; the handlers and mallopt have no safe face; `pre_exec` runs
// between fork and exec.

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::{Pid, getppid},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::Command,
};

/// A child that has ended: its pid, and 0–255 or 128 + the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The child.
    pub pid: i32,
    /// 0 to 255; death by signal n is 128+n.
    pub code: i32,
}

/// Collects one child that has ended, without waiting; `None` if there is none.
#[must_use]
pub fn reap() -> Option<Ended> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the one int that the call writes.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid > 0 {
            if libc::WIFEXITED(status) {
                return Some(Ended { pid, code: libc::WEXITSTATUS(status) });
            }
            if libc::WIFSIGNALED(status) {
                return Some(Ended { pid, code: 128 + libc::WTERMSIG(status) });
            }
        } else if pid == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Makes the program of `command` begin in `groups`, open `cgroup.procs` files,
/// with `inherited` under the numbers that they have here, and end with the
/// calling *thread*, which must therefore live as long.
pub fn tie_to_parent(command: &mut Command, groups: Vec<File>, inherited: Vec<OwnedFd>) {
    let parent = Pid::this();
    let prepare = move || {
        groups.iter().try_for_each(|mut group| group.write_all(b"0"))?;
        for fd in &inherited {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // One that went before this has nobody to be told by.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: the closure makes only system calls and touches memory that was
    // allocated before the fork.
    unsafe { command.pre_exec(prepare) };
}

/// Replaces the argument `from` of this process by `to`, which is as long: others
/// know it by that (`/proc/<pid>/cmdline`).
///
/// # Errors
/// There is no such argument, or `to` has another length.
pub fn rename_argument(from: &OsStr, to: &OsStr) -> io::Result<()> {
    let absent = || io::Error::new(io::ErrorKind::NotFound, format!("no argument {} as long", from.display()));
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // arg_start is the 48th field, the state the third (proc(5)).
    let mut fields = stat.rsplit_once(')').ok_or_else(absent)?.1.split_whitespace().skip(45);
    let mut address = || fields.next().and_then(|field| field.parse::<usize>().ok()).ok_or_else(absent);
    let (start, end) = (address()?, address()?);
    let line = std::fs::read("/proc/self/cmdline")?;
    let (from, to) = (from.as_encoded_bytes(), to.as_encoded_bytes());
    let mut place = 0;
    for argument in line.split(|byte| *byte == 0) {
        if argument == from && to.len() == from.len() && start + place + to.len() < end {
            // SAFETY: the kernel says that this process's arguments are between
            // the two addresses, on its stack, which is writable and stays. Who
            // reads them at the same time sees some bytes of each, all of them
            // before the same zero: the lengths are equal.
            unsafe { std::ptr::copy_nonoverlapping(to.as_ptr(), (start + place) as *mut u8, to.len()) };
            return Ok(());
        }
        place += argument.len() + 1;
    }
    Err(absent())
}

/// Sends `signal` (any number the kernel knows) to `pid`.
///
/// # Errors
/// The kernel's; `EINVAL` for a pid that is not one process's.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the process has been killed or is about to be gone: it exits, or
/// SIGKILL waits for it. A frozen cgroup (version 1) keeps it from both.
#[must_use]
pub fn is_dying(pid: i32) -> bool {
    /// `PF_EXITING` of the kernel's `include/linux/sched.h`.
    const EXITING: u64 = 0x4;
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else { return true };
    // The name may hold anything but ends with the last parenthesis; flags are
    // the seventh field after it, the state the first.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or_default();
    let pending = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")))
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    matches!(state, "Z" | "X") || flags & EXITING != 0 || pending.fold(0, |all, mask| all | mask) & KILL != 0
}

/// When a process began, in clock ticks since boot: its number alone may be
/// another's by now.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state follows the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Outlives SIGHUP, SIGINT and SIGTERM, by handlers that do nothing. Unlike
/// ignored signals these are back at their defaults in every program that a
/// child executes.
///
/// # Errors
/// The kernel's.
pub fn outlive_signals() -> io::Result<()> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero sigaction is valid: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is initialised; its handler touches nothing, so it
        // may run at any moment.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes the C allocator thrifty: one arena, and freed memory back to the
/// kernel soon. For a process of which there is one per container.
pub fn keep_memory_small() {
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 64 << 10),
        (libc::M_TOP_PAD, 16 << 10),
        (libc::M_MMAP_THRESHOLD, 64 << 10),
    ] {
        // SAFETY: mallopt takes two integers; called before threads exist, it
        // races with no allocation. A refusal only means more memory.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives memory back to the kernel now: freed heap, and the pages of the
/// program's code, of which those in use come back from the page cache. A
/// process that has done its work and waits for hours needs few of them.
pub fn trim_memory() {
    // SAFETY: malloc_trim takes an integer and locks the arenas itself.
    unsafe { libc::malloc_trim(0) };
    // Without the list of mappings there is nothing to give back, and no harm done.
    let _ = drop_code_pages();
}

fn drop_code_pages() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp"), Some(path)) = (fields.next(), fields.next(), fields.nth(3)) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)) else { continue };
        if std::path::Path::new(path) == program {
            // SAFETY: the range is a mapping of this program's file that nobody
            // writes to: it is executable and not writable, and relocations are
            // never made in code. Its pages are therefore the file's, and the
            // next access reads them from there again.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
    Ok(())
}
