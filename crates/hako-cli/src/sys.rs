//! What the standard library cannot ask of the operating system.
#![allow(unsafe_code)]
// UNSAFETY: a new session can only be made between fork and exec.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command` run in a session of its own, so that it outlives the terminal.
pub(crate) fn new_session(command: &mut Command) {
    let hook = || nix::unistd::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: the hook runs in the forked child and makes one system call; it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(hook) };
}
