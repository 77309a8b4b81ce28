//! The runtime that has made a container and waits to be told to start it; see
//! `hako-runtime create --hold`.

use super::{
    reaper::Watch,
    runtime::{ChildEnds, Runtime},
};
use hako_model::{Error, Result};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{MsgFlags, recv},
};
use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream as Socket,
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// Longer than anything that it says.
const MAX_LINE: usize = 4096;

/// It waits.
#[derive(Debug)]
pub(super) struct Held {
    channel: BufReader<UnixStream>,
    watch: Watch,
}

impl Held {
    /// Has the runtime make a container (`args` without its id, which is last);
    /// answers the first process's pid. What goes wrong is read from `errors`,
    /// the other end of `ends.stderr`.
    pub(super) async fn create(
        runtime: &Runtime,
        mut args: Vec<&OsStr>,
        id: &str,
        ends: ChildEnds,
        errors: &OwnedFd,
    ) -> Result<(i32, Self)> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let channel = BufReader::new(UnixStream::from_std(ours)?);
        let number = theirs.as_raw_fd().to_string();
        args.extend(["--hold".as_ref(), OsStr::new(&number), id.as_ref()]);
        let watch = spawn(runtime, &args, ends, theirs)?;
        let mut held = Self { channel, watch };
        let line = held.line().await?;
        let pid = line.as_deref().and_then(|line| line.strip_prefix("created ")?.parse().ok());
        match pid.filter(|pid| *pid > 0) {
            Some(pid) => Ok((pid, held)),
            None => Err(runtime.failure("create", held.watch.wait().await?, Some(errors))),
        }
    }

    /// Has it start the container; `false` if it waits no more, and has not.
    pub(super) async fn start(mut self) -> Result<bool> {
        // One that has gone does not answer.
        let _ = self.channel.write_all(b"s").await;
        match self.line().await?.as_deref() {
            Some("started") => Ok(true),
            Some(text) => Err(Error::internal(text)),
            None => Ok(false),
        }
    }

    /// What it says, if it does before it ends.
    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        tokio::select! {
            // What it has said before it ended counts.
            biased;
            read = self.channel.read_line(&mut line) => {
                // A reset is its end.
                let _ = read;
            }
            ended = self.watch.wait() => {
                ended?;
                // The container's process may still have the other end, so this must not wait.
                let mut rest = [0; MAX_LINE];
                let socket = self.channel.get_ref().as_raw_fd();
                let read = recv(socket, &mut rest, MsgFlags::MSG_DONTWAIT).unwrap_or_default();
                line.push_str(&String::from_utf8_lossy(&rest[..read]));
            }
        }
        Ok(line.strip_suffix('\n').map(str::to_owned))
    }
}

/// With `channel`, and nothing else of ours, open in it.
fn spawn(runtime: &Runtime, args: &[&OsStr], ends: ChildEnds, channel: Socket) -> Result<Watch> {
    // Nobody else starts a program between this and the channel's end here: it is
    // this thread that starts them. One that got it would do it no harm.
    let inherit = || -> io::Result<Watch> {
        fcntl(&channel, FcntlArg::F_SETFD(FdFlag::empty()))?;
        runtime.spawn(args, ends)
    };
    inherit().map_err(|err| Error::internal(format!("start {}: {err}", runtime.program.display())))
}
