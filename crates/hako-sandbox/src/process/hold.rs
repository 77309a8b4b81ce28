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
/// The exit code of SIGKILL.
const KILLED: i32 = 128 + nix::libc::SIGKILL;

/// It waits.
#[derive(Debug)]
pub(super) struct Held {
    channel: BufReader<UnixStream>,
    watch: Watch,
}

impl Held {
    /// Has the runtime make a container (`args` without its id, which is last);
    /// answers the first process's pid. What goes wrong is read from `errors`,
    /// the other end of `ends.stderr`. One that waits begins before `mounted`
    /// says that the bundle's mounts are there.
    pub(super) async fn create(
        runtime: &Runtime,
        args: Vec<&OsStr>,
        id: &str,
        ends: ChildEnds,
        errors: &OwnedFd,
        mounted: impl Future<Output = Result<()>>,
    ) -> Result<(i32, Self)> {
        let (mut held, spare) = match ask_waiter(runtime, &args, id, &ends) {
            Some(mut held) => {
                if let Err(err) = mounted.await {
                    held.give_up().await;
                    return Err(err);
                }
                // One that has gone is heard of below.
                let _ = held.channel.write_all(b"m").await;
                (held, Some(ends))
            }
            None => {
                mounted.await?;
                (execute(runtime, &args, id, ends)?, None)
            }
        };
        let mut line = held.line().await?;
        // One that was killed while it waited has done nothing.
        if let (None, Some(ends)) = (&line, spare)
            && held.watch.wait().await?.code == KILLED
            && !runtime.root.join(id).exists()
        {
            held = execute(runtime, &args, id, ends)?;
            line = held.line().await?;
        }
        let pid = line.as_deref().and_then(|line| line.strip_prefix("created ")?.parse().ok());
        match pid.filter(|pid| *pid > 0) {
            Some(pid) => Ok((pid, held)),
            None => Err(runtime.failure("create", held.watch.wait().await?, Some(errors))),
        }
    }

    /// Has it make no container, and waits until it has ended.
    async fn give_up(self) {
        let Self { channel, watch } = self;
        drop(channel);
        // Who has ended of something else has ended.
        let _ = watch.wait().await;
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

/// By one that waits, if there is one.
fn ask_waiter(runtime: &Runtime, args: &[&OsStr], id: &str, ends: &ChildEnds) -> Option<Held> {
    let waiter = runtime.waiter()?;
    let number = waiter.number().to_owned();
    let args = [args, &["--hold".as_ref(), number.as_ref(), "--await-rootfs".as_ref(), id.as_ref()]].concat();
    let (channel, watch) = waiter.become_command(&runtime.root, &args, ends).ok()?;
    Some(Held { channel: BufReader::new(channel), watch })
}

/// With the channel, and nothing else of ours, open in it.
fn execute(runtime: &Runtime, args: &[&OsStr], id: &str, ends: ChildEnds) -> Result<Held> {
    let (ours, theirs) = Socket::pair()?;
    ours.set_nonblocking(true)?;
    let number = theirs.as_raw_fd().to_string();
    let args = [args, &["--hold".as_ref(), number.as_ref(), id.as_ref()]].concat();
    // Nobody else starts a program between this and the channel's end here: it is
    // this thread that starts them. One that got it would do it no harm.
    let inherit = || -> io::Result<Watch> {
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
        runtime.spawn(&args, ends)
    };
    let watch = inherit().map_err(|err| Error::internal(format!("start {}: {err}", runtime.program.path.display())))?;
    Ok(Held { channel: BufReader::new(UnixStream::from_std(ours)?), watch })
}
