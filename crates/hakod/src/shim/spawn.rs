//! Starting a shim.
#![allow(unsafe_code)]
// UNSAFETY: the child must lead a session and have its sockets at fixed
// numbers before it executes the shim, which only `pre_exec` can do.

use super::ShimDir;
use hako_model::{Error, Result};
use std::{
    fs::OpenOptions,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    process::Stdio,
};
use tokio::process::{Child, Command};

/// The numbers at which the shim finds its sockets.
const TASK_FD: RawFd = 3;
const STDIO_FD: RawFd = 4;

/// Starts `program` for the container of `dir`, with both sockets listening
/// before it runs. The child ends with its container, not with this process.
///
/// # Errors
/// The program is missing, or the kernel refuses.
pub fn spawn(program: &Path, dir: &ShimDir) -> Result<Child> {
    let (task, stdio) = (dir.bind("task.sock")?, dir.bind("stdio.sock")?);
    let log = OpenOptions::new().create(true).append(true).open(dir.path().join("shim.log"))?;
    let fds = [(task.as_raw_fd(), TASK_FD), (stdio.as_raw_fd(), STDIO_FD)];
    let mut command = Command::new(program);
    command.arg("--dir").arg(dir.path()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: the closure runs in the forked child and calls only setsid, fcntl
    // and dup2, which are async-signal-safe; it allocates nothing.
    unsafe {
        command.pre_exec(move || prepare(fds));
    }
    command.spawn().map_err(|err| Error::internal(format!("start {}: {err}", program.display())))
}

/// # Safety
/// Only between fork and exec.
unsafe fn prepare(fds: [(RawFd, RawFd); 2]) -> std::io::Result<()> {
    let fail = std::io::Error::last_os_error;
    // SAFETY: takes nothing; a forked child never leads a process group, so it succeeds.
    if unsafe { libc::setsid() } < 0 {
        return Err(fail());
    }
    // First out of the way: one's source may be the other's target.
    let mut high = [0; 2];
    for (slot, (from, _)) in high.iter_mut().zip(fds) {
        // SAFETY: duplicates an open descriptor.
        *slot = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 10) };
        if *slot < 0 {
            return Err(fail());
        }
    }
    for (from, (_, to)) in high.into_iter().zip(fds) {
        // SAFETY: the target's old descriptor is closed with the child's exec in any case.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(fail());
        }
    }
    Ok(())
}
