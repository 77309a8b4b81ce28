//! The system calls that the server makes. All others it cannot make any more,
//! whoever has got hold of it: no program is run, no socket made, no process
//! looked at or signalled, nothing mounted, and no memory becomes code.

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError};
use std::io;

/// What is allowed, with why.
const ALLOWED: &[(&[&str], &str)] = &[
    (&["read", "recvfrom", "write", "writev", "sendto", "shutdown"], "the connection, and words to standard error"),
    (&["openat", "close", "dup", "fcntl"], "descriptors, locks of fcntl among them"),
    (&["name_to_handle_at", "open_by_handle_at"], "inodes that are not kept open"),
    (&["statx", "newfstatat", "fstat", "fstatfs"], "what an inode and its filesystem are"),
    (&["pread64", "preadv2", "pwrite64", "pwritev2", "lseek", "copy_file_range"], "data"),
    (&["ftruncate", "fallocate", "fsync", "fdatasync", "flock"], "data"),
    (&["getdents64", "readlinkat"], "directories and links"),
    (&["mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat2"], "names"),
    (&["fchmod", "fchmodat", "fchown", "fchownat", "utimensat"], "attributes"),
    (&["chmod", "chown", "mkdir", "mknod", "rename", "renameat"], "the same, as other C libraries call them"),
    (&["getxattr", "setxattr", "listxattr", "removexattr"], "more attributes, by paths of descriptors"),
    (&["fgetxattr", "fsetxattr", "flistxattr", "fremovexattr"], "the same, by descriptors"),
    (&["setfsuid", "setfsgid", "umask", "fchdir"], "whose a new file is, by thread"),
    (&["munmap", "mremap", "madvise", "brk", "getrandom"], "memory, and seeds of tables"),
    (&["futex", "set_robust_list", "rseq", "sigaltstack", "sched_getaffinity", "sched_yield"], "threads"),
    (&["exit", "exit_group", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "restart_syscall"], "threads"),
    (&["getpid", "gettid"], "the end by a panic"),
    (&["clock_gettime", "clock_nanosleep", "nanosleep", "poll"], "time"),
];

/// `PR_SET_NAME`, of threads.
const SET_NAME: u64 = libc::PR_SET_NAME as u64;

/// Puts the filter on the calling thread and those that it makes; what is not
/// allowed is `otherwise`.
///
/// # Errors
/// The kernel's, or the library's.
pub(crate) fn enter(otherwise: ScmpAction) -> io::Result<()> {
    made(otherwise).map_err(io::Error::other)
}

fn made(otherwise: ScmpAction) -> Result<(), SeccompError> {
    let mut filter = ScmpFilterContext::new(otherwise)?;
    // A tree of comparisons: there are many calls and each counts.
    filter.set_ctl_optimize(2)?;
    for name in ALLOWED.iter().flat_map(|(names, _)| *names) {
        filter.add_rule(ScmpAction::Allow, ScmpSyscall::from_name(name)?)?;
    }
    let has = |arg, mask: u64, value: u64| ScmpArgCompare::new(arg, ScmpCompareOp::MaskedEqual(mask), value);
    let (thread, files, code) = (flag(libc::CLONE_THREAD), flag(libc::CLONE_FS), flag(libc::PROT_EXEC));
    let own = u64::from(std::process::id());
    for (name, condition) in [
        // Threads and no processes; each has a working directory of its own.
        ("clone", has(0, thread, thread)),
        ("unshare", has(0, u64::MAX, files)),
        ("tgkill", has(0, u64::MAX, own)),
        // Never code.
        ("mmap", has(2, code, 0)),
        ("mprotect", has(2, code, 0)),
        ("prctl", has(0, u64::MAX, SET_NAME)),
    ] {
        filter.add_rule_conditional(ScmpAction::Allow, ScmpSyscall::from_name(name)?, &[condition])?;
    }
    // Its flags cannot be looked at; the C library takes the older call then.
    filter.add_rule(ScmpAction::Errno(libc::ENOSYS), ScmpSyscall::from_name("clone3")?)?;
    filter.load()
}

fn flag(flag: i32) -> u64 {
    u64::from(flag.cast_unsigned())
}
