//! Calls of `hako-runtime` that were executed before there was work for them, and
//! wait (`hako-runtime await`). In a virtual machine they are part of the
//! template, so a copy need not execute any.
//!
//! They are not counted on: without one, or with one that has ended, the program
//! is executed.

use super::{
    locked,
    reaper::{Reaper, Watch},
    runtime::{ChildEnds, Program},
};
use hako_model::{Error, ErrorKind, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{ffi::OsStrExt, net::UnixStream as Socket},
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

/// How long one may take until it waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// The place of those that wait. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Standby(Arc<Place>);

#[derive(Debug)]
struct Place {
    program: Program,
    reaper: Reaper,
    waiters: Mutex<Vec<Waiter>>,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    socket: UnixStream,
    /// The socket's other end, in it.
    number: String,
    watch: Watch,
    null: File,
}

impl Standby {
    /// The place for those of the program `runtime`; there is none yet.
    #[must_use]
    pub fn new(runtime: PathBuf, reaper: Reaper) -> Self {
        Self(Arc::new(Place { program: Program::new(runtime), reaper, waiters: Mutex::default() }))
    }

    /// Starts what is missing of `count`, and returns when all of them wait.
    ///
    /// # Errors
    /// One does not start, or ends before it waits.
    pub async fn fill(&self, count: usize) -> Result<()> {
        let program = self.0.program.path.display();
        let named = |err: io::Error| Error::internal(format!("start {program} await: {err}"));
        while self.pids().len() < count {
            let mut waiter = self.start().map_err(named)?;
            timeout(PATIENCE, waiter.comes()).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::DeadlineExceeded, "hako-runtime await takes too long"))
            })?;
            locked(&self.0.waiters).push(waiter);
        }
        Ok(())
    }

    /// The pids of those that wait.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let mut waiters = locked(&self.0.waiters);
        waiters.retain(Waiter::lives);
        waiters.iter().map(|waiter| waiter.watch.pid()).collect()
    }

    fn start(&self) -> io::Result<Waiter> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let number = theirs.as_raw_fd().to_string();
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let mut command = self.0.program.command();
        // What goes wrong before it has a command goes where the rest of it goes here.
        command.args(["await", &number]).stdin(Stdio::null()).stdout(Stdio::null());
        // Nobody else starts a program between this and its end here: it is this
        // thread that starts them.
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let watch = self.0.reaper.spawn(&mut command)?;
        Ok(Waiter { socket: UnixStream::from_std(ours)?, number, watch, null })
    }

    /// One that waits; who takes it has it alone.
    pub(super) fn take(&self) -> Option<Waiter> {
        let mut waiters = locked(&self.0.waiters);
        waiters.retain(Waiter::lives);
        waiters.pop()
    }
}

impl Waiter {
    fn lives(&self) -> bool {
        self.watch.ended().is_none()
    }

    async fn comes(&mut self) -> Result<()> {
        let mut said = [0];
        tokio::select! {
            biased;
            read = self.socket.read(&mut said) => {
                if let Ok(1) = read {
                    return Ok(());
                }
            }
            _ = self.watch.wait() => {}
        }
        Err(Error::internal("hako-runtime await ended before it waited"))
    }

    /// What to give to a command that is to go on with the socket.
    pub(super) fn number(&self) -> &str {
        &self.number
    }

    /// Makes it the command `args`; answers the socket. On an error it is none,
    /// and nothing has happened.
    pub(super) fn become_command(
        self,
        root: &Path,
        args: &[&OsStr],
        ends: &ChildEnds,
    ) -> io::Result<(UnixStream, Watch)> {
        let mut text = Vec::new();
        let program = OsStr::new("hako-runtime");
        for word in [program, "--root".as_ref(), root.as_os_str()].iter().chain(args) {
            if word.as_bytes().contains(&0) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            text.extend_from_slice(word.as_bytes());
            text.push(0);
        }
        let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = length.to_le_bytes().to_vec();
        message.append(&mut text);
        let stdio = [&ends.stdin, &ends.stdout, &ends.stderr];
        let stdio = stdio.map(|end| end.as_ref().map_or_else(|| self.null.as_fd(), AsFd::as_fd));
        // The socket is empty, so it takes a command line at once.
        if hako_os::fd::send(&self.socket, &message, &stdio)? != message.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok((self.socket, self.watch))
    }
}
