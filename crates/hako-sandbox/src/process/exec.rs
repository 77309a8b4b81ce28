//! Further processes of a container.
//!
//! ```text
//!   Registered ──start──► Starting ──► Started
//!                             └──────► Failed
//! ```

use super::{
    console::ConsoleSocket,
    init::{OurEnds, pipes, tty_stdio},
    reaper::Watch,
    runtime::{ChildEnds, Runtime, read_pid},
    stream::{Gate, Keeper},
};
use crate::{Stdio, StdioRequest};
use hako_model::{Error, Result};
use std::{collections::HashMap, ffi::OsStr, os::fd::OwnedFd, path::Path};

/// One exec.
#[derive(Debug)]
pub(super) enum Exec {
    /// Its streams are handed out, the process is not there yet.
    Registered(Pending),
    /// The runtime is at it.
    Starting(Option<Gate>),
    /// It runs, or has ended.
    Started(Process),
    /// It could not be started.
    Failed,
}

/// What start needs.
#[derive(Debug)]
pub(super) struct Pending {
    process: Vec<u8>,
    streams: Streams,
}

#[derive(Debug)]
enum Streams {
    Tty(Keeper),
    Pipes { child: ChildEnds, errors: OwnedFd, stderr: Keeper },
}

/// A started exec.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) watch: Watch,
    tty: Option<Gate>,
}

/// The exec of that name.
pub(super) fn entry<'a>(execs: &'a mut HashMap<String, Exec>, exec_id: &str) -> Result<&'a mut Exec> {
    execs.get_mut(exec_id).ok_or_else(|| Error::not_found(format!("no such exec: {exec_id}")))
}

impl Exec {
    /// Takes what start needs; a second start is refused.
    pub(super) fn take_pending(&mut self) -> Result<Pending> {
        let tty = self.tty();
        match std::mem::replace(self, Self::Starting(tty)) {
            Self::Registered(pending) => Ok(pending),
            other => {
                *self = other;
                Err(Error::conflict("exec has been started already"))
            }
        }
    }

    /// The process, if it has come to be.
    pub(super) fn started(&self) -> Result<&Process> {
        match self {
            Self::Started(process) => Ok(process),
            Self::Registered(_) | Self::Starting(_) => Err(Error::conflict("exec has not been started")),
            Self::Failed => Err(Error::not_found("exec could not be started")),
        }
    }

    /// The tty, open or not.
    pub(super) fn tty(&self) -> Option<Gate> {
        match self {
            Self::Registered(Pending { streams: Streams::Tty(gate), .. }) => Some(gate.0.clone()),
            Self::Registered(Pending { streams: Streams::Pipes { .. }, .. }) | Self::Failed => None,
            Self::Starting(gate) | Self::Started(Process { tty: gate, .. }) => gate.clone(),
        }
    }

    /// Whether it may be forgotten.
    pub(super) fn deletable(&self) -> Result<()> {
        match self {
            Self::Registered(_) | Self::Failed => Ok(()),
            Self::Started(process) if process.watch.ended().is_some() => Ok(()),
            Self::Starting(_) | Self::Started(_) => Err(Error::conflict("exec is running")),
        }
    }
}

/// Prepares an exec: its streams are there before it is.
pub(super) fn register(process: Vec<u8>, req: StdioRequest) -> Result<(Exec, Stdio)> {
    if req.terminal {
        let gate = Gate::shut();
        let stdio = tty_stdio(&gate, req.stdin);
        return Ok((Exec::Registered(Pending { process, streams: Streams::Tty(Keeper(gate)) }), stdio));
    }
    let (child, OurEnds { stdio, errors, stderr }) = pipes(req.stdin)?;
    let streams = Streams::Pipes { child, errors, stderr: Keeper(stderr) };
    Ok((Exec::Registered(Pending { process, streams }), stdio))
}

/// Has the runtime start the process. On an error its streams are at their end.
pub(super) async fn start(runtime: &Runtime, dir: &Path, id: &str, number: u32, pending: Pending) -> Result<Process> {
    let spec = dir.join(format!("exec-{number}.json"));
    let started = match std::fs::write(&spec, &pending.process) {
        Ok(()) => run_exec(runtime, dir, id, number, &spec, pending.streams).await,
        Err(err) => Err(Error::internal(format!("write {}: {err}", spec.display()))),
    };
    // Leftovers go with their folder.
    let _ = std::fs::remove_file(&spec);
    if started.is_err() {
        let _ = std::fs::remove_file(dir.join(format!("exec-{number}.pid")));
    }
    started
}

async fn run_exec(
    runtime: &Runtime,
    dir: &Path,
    id: &str,
    number: u32,
    spec: &Path,
    streams: Streams,
) -> Result<Process> {
    let pid_file = dir.join(format!("exec-{number}.pid"));
    let mut args: Vec<&OsStr> = vec!["exec".as_ref(), "--process".as_ref(), spec.as_ref()];
    args.extend(["--pid-file".as_ref(), pid_file.as_os_str(), "--detach".as_ref()]);
    let _hold = runtime.reaper.hold();
    let tty = match streams {
        Streams::Tty(gate) => {
            let socket = ConsoleSocket::bind(dir, &format!("exec-{number}.sock"))
                .map_err(|err| Error::internal(format!("console socket: {err}")))?;
            args.extend(["--console-socket".as_ref(), socket.path().as_os_str(), id.as_ref()]);
            runtime.run(&args, ChildEnds::default(), None).await?;
            gate.0.open(socket.receive().map_err(|err| Error::internal(format!("receive the tty: {err}")))?)?;
            Some(gate.0.clone())
        }
        Streams::Pipes { child, errors, stderr } => {
            args.push(id.as_ref());
            runtime.run(&args, child, Some(&errors)).await?;
            stderr.0.open(errors)?;
            None
        }
    };
    let watch = runtime.reaper.watch(read_pid(&pid_file)?);
    Ok(Process { watch, tty })
}
