//! A shim's process, by a descriptor that no other process can get.
#![allow(unsafe_code)]
// UNSAFETY: tokio asks whoever registers a descriptor to promise that it stays
// open and the same.

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{fs, path::Path, time::Duration};
use tokio::{io::unix::AsyncFd, time::timeout};

/// A process, which may have ended already.
pub struct ShimProcess(AsyncFd<OwnedFd>);

impl ShimProcess {
    /// The process `pid`, if it is the shim of `dir` and not somebody who got its number.
    #[must_use]
    pub fn open(pid: i32, dir: &Path) -> Option<Self> {
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let dir = dir.as_os_str().as_encoded_bytes();
        if !line.split(|byte| *byte == 0).any(|argument| argument == dir) {
            return None;
        }
        // SAFETY: the descriptor is owned, moves into the registration, and is
        // neither replaced nor closed before that is dropped.
        unsafe { AsyncFd::register(fd) }.ok().map(Self)
    }

    /// Whether the process ends within `patience`.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        timeout(patience, self.0.readable()).await.is_ok()
    }

    /// Kills it; one that has ended is as good as killed.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(self.0.get_ref(), Signal::KILL);
    }
}
