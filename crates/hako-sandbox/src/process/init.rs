//! The container and its first process.

use super::{
    cleanup,
    console::ConsoleSocket,
    files::Tree,
    hold::Held,
    locked,
    reaper::{Exit, Watch},
    rootfs::Mounts,
    runtime::{ChildEnds, Runtime, pipe},
    stream::{Gate, Kind, Stream},
};
use crate::{CreateRequest, Stdio, StdioRequest};
use chrono::{DateTime, SecondsFormat, Utc};
use hako_model::{Error, ExitDetails, Result};
use hako_os::cgroup::Cgroup;
use std::{
    ffi::OsStr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tokio::sync::OnceCell;

/// A container that the runtime has made.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) init: Watch,
    pub(super) tty: Option<Gate>,
    pub(super) cgroup: Cgroup,
    pub(super) tree: Tree,
    pub(super) mounts: Mutex<Mounts>,
    /// The runtime that is to start it, until it has.
    held: Mutex<Option<Held>>,
    /// Read from the cgroup while there is one.
    details: OnceCell<ExitDetails>,
}

impl Container {
    /// Waits for the first process's end.
    pub(super) async fn ended(&self) -> Result<ExitDetails> {
        let details = self.details.get_or_try_init(|| async {
            let exit = self.init.wait().await?;
            Ok::<_, Error>(details(exit, &self.cgroup))
        });
        details.await.cloned()
    }

    /// Every process of the container.
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let pids = self.cgroup.pids().map_err(|err| Error::internal(format!("read cgroup.procs: {err}")))?;
        let alone = || if self.init.ended().is_none() { vec![self.init.pid()] } else { Vec::new() };
        Ok(pids.unwrap_or_else(alone))
    }
}

/// How a process of `cgroup`'s container ended.
pub(super) fn details(exit: Exit, cgroup: &Cgroup) -> ExitDetails {
    ExitDetails {
        exit_code: exit.code,
        exited_at: DateTime::<Utc>::from(exit.at).to_rfc3339_opts(SecondsFormat::Nanos, true),
        oom_killed: cgroup.oom_kills() > 0,
        error: None,
    }
}

/// Our ends of a process's streams before they are handed out.
pub(super) struct OurEnds {
    pub(super) stdio: Stdio,
    /// The stderr pipe, which is the runtime's until the process runs.
    pub(super) errors: OwnedFd,
    /// Opens the stream on `errors`.
    pub(super) stderr: Gate,
}

/// Three pipes.
pub(super) fn pipes(want_stdin: bool) -> Result<(ChildEnds, OurEnds)> {
    let stdin = if want_stdin { Some(pipe()?) } else { None };
    let (stdout, child_stdout) = pipe()?;
    let (errors, child_stderr) = pipe()?;
    let (child_stdin, stdin) = stdin.unzip();
    let stderr = Gate::shut();
    let stdio = Stdio {
        stdin: stdin.map(Stream::pipe).transpose()?.map(|stream| Box::new(stream) as crate::Input),
        stdout: Some(Box::new(Stream::pipe(stdout)?)),
        stderr: Some(Box::new(stderr.stream(Kind::Pipe))),
    };
    let child = ChildEnds { stdin: child_stdin, stdout: Some(child_stdout), stderr: Some(child_stderr) };
    Ok((child, OurEnds { stdio, errors, stderr }))
}

/// The streams of a tty that `gate` will open.
pub(super) fn tty_stdio(gate: &Gate, want_stdin: bool) -> Stdio {
    Stdio {
        stdin: want_stdin.then(|| Box::new(gate.stream(Kind::Tty)) as crate::Input),
        stdout: Some(Box::new(gate.stream(Kind::Tty))),
        stderr: None,
    }
}

/// Mounts the root filesystem, or lets `mounted` do so, and has the runtime make
/// the container. On an error nothing is left but what `mounted` has mounted.
pub(super) async fn create(
    runtime: &Runtime,
    dir: &Path,
    req: CreateRequest,
    mounted: impl Future<Output = Result<()>>,
) -> Result<(Container, Stdio)> {
    if runtime.root.join(&req.id).exists() {
        // Undoing this create would end that container.
        return Err(Error::conflict(format!("container {} exists in {}", req.id, runtime.root.display())));
    }
    let tree = Tree::of(&req.bundle, &req.rootfs);
    let list = if runtime.rootfs_mounted { &[] } else { req.rootfs.as_slice() };
    let mut mounts = Mounts::mount(&req.bundle, list)?;
    // The runtime's child becomes ours when the runtime ends, and may itself
    // have ended before its pid is read.
    let _hold = runtime.reaper.hold();
    match run_create(runtime, dir, &req, mounted).await {
        Ok(Made { pid, held, tty, stdio }) => {
            let init = runtime.reaper.watch(pid);
            let cgroup = Cgroup::of(pid).or_else(|_| cgroup_of_spec(&req.bundle)).unwrap_or_default();
            let (mounts, held) = (Mutex::new(mounts), Mutex::new(Some(held)));
            let container = Container { id: req.id, init, tty, cgroup, tree, mounts, held, details: OnceCell::new() };
            Ok((container, stdio))
        }
        Err(err) => {
            cleanup::undo_create(runtime, &req, cgroup_of_spec(&req.bundle).unwrap_or_default(), &mut mounts).await;
            Err(err)
        }
    }
}

/// What the runtime has made.
struct Made {
    pid: i32,
    held: Held,
    tty: Option<Gate>,
    stdio: Stdio,
}

async fn run_create(
    runtime: &Runtime,
    dir: &Path,
    req: &CreateRequest,
    mounted: impl Future<Output = Result<()>>,
) -> Result<Made> {
    let mut args: Vec<&OsStr> = vec!["create".as_ref(), "--bundle".as_ref(), req.bundle.as_ref()];
    let StdioRequest { terminal, stdin } = req.stdio;
    if terminal {
        let socket =
            ConsoleSocket::bind(dir, "init.sock").map_err(|err| Error::internal(format!("console socket: {err}")))?;
        args.extend(["--console-socket".as_ref(), socket.path().as_os_str()]);
        let (errors, stderr) = pipe()?;
        let ends = ChildEnds { stderr: Some(stderr), ..ChildEnds::default() };
        let (pid, held) = Held::create(runtime, args, &req.id, ends, &errors, mounted).await?;
        let gate = Gate::shut();
        let stdio = tty_stdio(&gate, stdin);
        gate.open(socket.receive().map_err(|err| Error::internal(format!("receive the tty: {err}")))?)?;
        return Ok(Made { pid, held, tty: Some(gate), stdio });
    }
    let (child, ours) = pipes(stdin)?;
    let (pid, held) = Held::create(runtime, args, &req.id, child, &ours.errors, mounted).await?;
    ours.stderr.open(ours.errors)?;
    Ok(Made { pid, held, tty: None, stdio: ours.stdio })
}

/// Lets the first process run.
pub(super) async fn start(runtime: &Runtime, container: &Container) -> Result<()> {
    let held = locked(&container.held).take();
    if let Some(held) = held
        && held.start().await?
    {
        return Ok(());
    }
    runtime.run(&["start".as_ref(), container.id.as_ref()], ChildEnds::default(), None).await
}

/// The cgroup that the bundle names, for a container that did not come to be.
fn cgroup_of_spec(bundle: &Path) -> std::io::Result<Cgroup> {
    let config: PathBuf = bundle.join("config.json");
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(config)?)?;
    match spec.pointer("/linux/cgroupsPath").and_then(serde_json::Value::as_str) {
        // `slice:prefix:name` is systemd's; hakod does not write it.
        Some(path) if path.starts_with('/') => Cgroup::at(path),
        _ => Ok(Cgroup::default()),
    }
}

impl Container {
    /// Unmounts what create has mounted.
    pub(super) fn unmount(&self) -> Result<()> {
        locked(&self.mounts).unmount()
    }
}
