//! `create --hold FD`: the process that has made a container also starts it, and
//! need not be executed again for that. Over the socket `FD`:
//!
//! ```text
//!   any byte          from the caller, with `--await-rootfs`: what the bundle has
//!                     of mounts is there
//!   created <pid>     once the container's process waits for its start
//!   any byte          from the caller: start it
//!   started           or, in place of that, why it was not
//! ```
//!
//! It ends without a start if the caller is gone, if the container's process
//! is, whose parent it is, or after a while, so that no container that was made
//! and left keeps it: `start` serves as well then.

use crate::error::{Context, Error, Result};
use crate::record::Folder;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// How long it waits, in milliseconds.
const PATIENCE: u16 = 10_000;

/// The socket.
pub struct Channel(UnixStream);

impl Channel {
    /// The inherited descriptor, which must be taken before anything is opened.
    pub fn take(number: i32) -> Result<Self> {
        let fd = hako_os::fd::take_inherited(number);
        let fd = fd.ok_or_else(|| Error::message(format!("descriptor {number} is not open")))?;
        Ok(Self(UnixStream::from(fd)))
    }

    /// Waits for the word that the root filesystem is mounted.
    pub fn wait_for_rootfs(&mut self) -> Result<()> {
        self.0.read_exact(&mut [0]).map_err(|err| Error::message(format!("the root filesystem is not mounted: {err}")))
    }

    /// Says that the container is made, and starts it when it is told to.
    pub fn serve(mut self, folder: &Folder, pid: i32) -> Result<()> {
        let process = sys::pidfd(pid).context(|| format!("process {pid}"))?;
        let_go_of_stdio()?;
        // Who is gone needs no answer.
        if self.0.write_all(format!("created {pid}\n").as_bytes()).is_err() || !self.is_told(&process) {
            return Ok(());
        }
        let answer = match folder.start() {
            Ok(()) => "started".to_owned(),
            Err(err) => err.to_string().replace('\n', " "),
        };
        _ = self.0.write_all(format!("{answer}\n").as_bytes());
        Ok(())
    }

    fn is_told(&mut self, process: &OwnedFd) -> bool {
        let mut ready =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(PATIENCE)) {
            Ok(1..) if ready[0].any() == Some(true) => {}
            _ => return false,
        }
        let mut byte = [0];
        matches!(self.0.read(&mut byte), Ok(1))
    }
}

/// They are the container's, which ends them with its own.
fn let_go_of_stdio() -> Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context(|| "/dev/null")?;
    for number in 0..3 {
        sys::dup_to(null.as_fd(), number).context(|| "/dev/null")?;
    }
    Ok(())
}
