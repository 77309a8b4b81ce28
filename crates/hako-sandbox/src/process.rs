//! The process wall: namespaces and cgroups on this kernel, made by `hako-runtime`.
//!
//! Used by `hako-shim` on the host and by `hako-agent` in the guest.
//!
//! ```text
//!   Empty ──create──► Busy ──► Live ──delete──► Busy ──► Deleted
//!     ▲                │         ▲                │
//!     └── it failed ───┘         └── it failed ───┘
//!   Empty ──mount──► Mounted (files alone) ──delete──► Deleted
//! ```
//!
//! Verbs of the runtime are processes of their own (it clones, and changes what
//! is the whole process's); signals, figures and the freezer are done here.

mod cleanup;
mod console;
mod exec;
mod figures;
mod files;
mod hold;
mod init;
mod processes;
mod reaper;
mod rootfs;
mod runtime;
mod standby;
mod stream;

use crate::{CreateRequest, Figures, Sandbox, Stdio, StdioRequest};
use async_trait::async_trait;
use exec::Exec;
use files::Mounted;
use hako_model::{Error, ExitDetails, NetworkChange, ProcessList, Result, VmProcess};
use hako_task::{extra::MountRequest, files::FilesRequest};
use init::Container;
pub use reaper::{Exit, Hold, Reaper, Watch};
use runtime::{ChildEnds, Runtime};
pub use standby::Standby;
use std::{
    collections::HashMap,
    ffi::OsStr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
    time::Duration,
};
use tokio::net::UnixStream;

/// How long freezing may take; a process in an uninterruptible sleep delays it.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// What the process wall needs to know about its surroundings.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The `hako-runtime` program.
    pub runtime: PathBuf,
    /// The runtime's `--root`.
    pub runtime_root: PathBuf,
    /// An existing folder for pid files, console sockets and exec specs.
    pub dir: PathBuf,
    /// Root filesystems are mounted by the caller, and named here all the same.
    pub rootfs_mounted: bool,
    /// Where a runtime may wait for work.
    pub standby: Option<Standby>,
}

/// One container on this kernel.
#[derive(Debug)]
pub struct ProcessSandbox {
    runtime: Runtime,
    dir: PathBuf,
    phase: Mutex<Phase>,
    execs: Mutex<HashMap<String, Exec>>,
    /// Numbers the files of execs.
    files: AtomicU32,
}

#[derive(Debug)]
enum Phase {
    Empty,
    Busy,
    Live(Arc<Container>),
    Mounted(Arc<Mounted>),
    Deleted,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProcessSandbox {
    /// A sandbox with no container in it yet. Nothing is touched before `create`.
    #[must_use]
    pub fn new(config: ProcessConfig, reaper: Reaper) -> Self {
        Self {
            dir: config.dir.clone(),
            runtime: Runtime::new(config, reaper),
            phase: Mutex::new(Phase::Empty),
            execs: Mutex::default(),
            files: AtomicU32::new(0),
        }
    }

    /// As [`Sandbox::create`], with a root filesystem that is still being mounted:
    /// `mounted` says when it is. What can be done without it is done meanwhile.
    ///
    /// # Errors
    /// Those of [`Sandbox::create`], and `mounted`'s: then there is no container.
    pub async fn create_when(
        &self,
        req: CreateRequest,
        mounted: impl Future<Output = Result<()>> + Send,
    ) -> Result<(i32, Stdio)> {
        self.take_phase("create", |phase| matches!(phase, Phase::Empty))?;
        match init::create(&self.runtime, &self.dir, req, mounted).await {
            Ok((container, stdio)) => {
                let pid = container.init.pid();
                self.set_phase(Phase::Live(Arc::new(container)));
                Ok((pid, stdio))
            }
            Err(err) => {
                self.set_phase(Phase::Empty);
                Err(err)
            }
        }
    }

    /// The container, while there is one.
    fn live(&self) -> Result<Arc<Container>> {
        match &*locked(&self.phase) {
            Phase::Live(container) => Ok(container.clone()),
            Phase::Empty | Phase::Mounted(_) => Err(Error::conflict("container is not created")),
            Phase::Busy => Err(Error::conflict("container is being created or deleted")),
            Phase::Deleted => Err(Error::not_found("container is deleted")),
        }
    }

    /// The root filesystem, while it is mounted for its files alone.
    fn mounted(&self) -> Option<Arc<Mounted>> {
        match &*locked(&self.phase) {
            Phase::Mounted(mounted) => Some(mounted.clone()),
            Phase::Empty | Phase::Busy | Phase::Live(_) | Phase::Deleted => None,
        }
    }

    /// Takes the phase for a verb that ends it.
    fn take_phase(&self, verb: &str, want: fn(&Phase) -> bool) -> Result<Phase> {
        let mut phase = locked(&self.phase);
        if !want(&phase) {
            return Err(Error::conflict(format!("cannot {verb} a container that is {}", phase.word())));
        }
        Ok(std::mem::replace(&mut *phase, Phase::Busy))
    }

    fn set_phase(&self, phase: Phase) {
        *locked(&self.phase) = phase;
    }

    async fn freeze(&self, frozen: bool) -> Result<()> {
        let container = self.live()?;
        let named = |err: std::io::Error| Error::internal(format!("freezer: {err}"));
        let deadline = tokio::time::Instant::now() + FREEZE_LIMIT;
        loop {
            // Asked for anew each time: version 1 gives up when a fork comes in between.
            container.cgroup.set_frozen(frozen).map_err(named)?;
            let reached = container.cgroup.is_frozen().map_err(named)? == frozen;
            if frozen && hako_os::process::is_dying(container.init.pid()) {
                // Its end would not come (version 1): not its own, and not that of
                // its children, for which it waits.
                container.cgroup.set_frozen(false).map_err(named)?;
                return Err(Error::conflict("the container is ending"));
            }
            if reached {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                // Half frozen is worse than running.
                let _ = container.cgroup.set_frozen(false);
                return Err(Error::new(hako_model::ErrorKind::DeadlineExceeded, "the container does not freeze"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Phase {
    fn word(&self) -> &'static str {
        match self {
            Self::Empty => "not created",
            Self::Busy => "being created or deleted",
            Self::Live(_) => "created",
            Self::Mounted(_) => "mounted for its files",
            Self::Deleted => "deleted",
        }
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    async fn create(&self, req: CreateRequest) -> Result<(i32, Stdio)> {
        self.create_when(req, std::future::ready(Ok(()))).await
    }

    async fn exec(&self, exec_id: &str, process: Vec<u8>, stdio: StdioRequest) -> Result<Stdio> {
        let container = self.live()?;
        if container.init.ended().is_some() {
            return Err(Error::conflict(format!("container {} is not running", container.id)));
        }
        let mut execs = locked(&self.execs);
        if execs.contains_key(exec_id) {
            return Err(Error::conflict(format!("exec {exec_id} exists")));
        }
        let (exec, stdio) = exec::register(process, stdio)?;
        execs.insert(exec_id.to_owned(), exec);
        Ok(stdio)
    }

    async fn start(&self, exec_id: Option<&str>) -> Result<i32> {
        let container = self.live()?;
        let Some(exec_id) = exec_id else {
            init::start(&self.runtime, &container).await?;
            return Ok(container.init.pid());
        };
        let pending = {
            let mut execs = locked(&self.execs);
            exec::entry(&mut execs, exec_id)?.take_pending()?
        };
        let number = self.files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let started = exec::start(&self.runtime, &self.dir, &container.id, number, pending).await;
        let mut execs = locked(&self.execs);
        let exec = exec::entry(&mut execs, exec_id)?;
        match started {
            Ok(process) => {
                let pid = process.watch.pid();
                *exec = Exec::Started(process);
                Ok(pid)
            }
            Err(err) => {
                *exec = Exec::Failed;
                Err(err)
            }
        }
    }

    async fn kill(&self, exec_id: Option<&str>, signal: u32, all: bool) -> Result<()> {
        let container = self.live()?;
        let signal = i32::try_from(signal).map_err(|_| Error::invalid(format!("invalid signal {signal}")))?;
        if all {
            return cleanup::signal_all(&container, &self.runtime.reaper, signal).await;
        }
        let watch = match exec_id {
            None => container.init.clone(),
            Some(exec_id) => exec::entry(&mut locked(&self.execs), exec_id)?.started()?.watch.clone(),
        };
        cleanup::signal_one(&self.runtime.reaper, &watch, signal)?;
        if signal == nix::libc::SIGKILL && container.cgroup.is_frozen().unwrap_or(false) {
            // Version 1 delivers even this one only after a thaw.
            return self.freeze(false).await;
        }
        Ok(())
    }

    async fn wait(&self, exec_id: Option<&str>) -> Result<ExitDetails> {
        let container = self.live()?;
        match exec_id {
            None => container.ended().await,
            Some(exec_id) => {
                let watch = exec::entry(&mut locked(&self.execs), exec_id)?.started()?.watch.clone();
                Ok(init::details(watch.wait().await?, &container.cgroup))
            }
        }
    }

    async fn resize(&self, exec_id: Option<&str>, width: u16, height: u16) -> Result<()> {
        let container = self.live()?;
        let tty = match exec_id {
            None => container.tty.clone(),
            Some(exec_id) => exec::entry(&mut locked(&self.execs), exec_id)?.tty(),
        };
        let tty = tty.ok_or_else(|| Error::invalid("the process has no tty"))?;
        let master = tty.fd().ok_or_else(|| Error::conflict("the process has not been started"))?;
        hako_os::pty::set_size(master.get_ref(), width, height)
            .map_err(|err| Error::internal(format!("resize tty: {err}")))
    }

    async fn pids(&self) -> Result<Vec<i32>> {
        self.live()?.pids()
    }

    async fn pause(&self) -> Result<()> {
        self.freeze(true).await
    }

    async fn resume(&self) -> Result<()> {
        self.freeze(false).await
    }

    async fn processes(&self) -> Result<ProcessList> {
        processes::list(self.live()?).await
    }

    async fn stats(&self) -> Result<Figures> {
        figures::read(&self.live()?.cgroup)
    }

    async fn network(&self, _change: NetworkChange) -> Result<()> {
        // The namespace is the engine's own: it changes it from outside.
        Err(Error::unsupported("a change of the network in the sandbox of the process wall"))
    }
    async fn update(&self, resources: Vec<u8>) -> Result<()> {
        let container = self.live()?;
        let number = self.files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = self.dir.join(format!("resources-{number}.json"));
        std::fs::write(&file, resources)?;
        let args: [&OsStr; 4] = ["update".as_ref(), "--resources".as_ref(), file.as_ref(), container.id.as_ref()];
        let updated = self.runtime.run(&args, ChildEnds::default(), None).await;
        // A leftover goes with its folder.
        let _ = std::fs::remove_file(&file);
        updated
    }

    async fn mount(&self, req: MountRequest) -> Result<()> {
        self.take_phase("mount", |phase| matches!(phase, Phase::Empty))?;
        match Mounted::new(&req, self.runtime.rootfs_mounted) {
            Ok(mounted) => {
                self.set_phase(Phase::Mounted(Arc::new(mounted)));
                Ok(())
            }
            Err(err) => {
                self.set_phase(Phase::Empty);
                Err(err)
            }
        }
    }

    async fn files(&self, request: FilesRequest, client: UnixStream) {
        let place = match (self.mounted(), self.live()) {
            (Some(mounted), _) => Ok(files::Place::Mounted(mounted)),
            (None, Ok(container)) => Ok(files::Place::Container(container)),
            (None, Err(err)) => Err(err),
        };
        files::serve(place, request, client).await;
    }

    async fn delete(&self, exec_id: Option<&str>) -> Result<()> {
        if let Some(exec_id) = exec_id {
            let mut execs = locked(&self.execs);
            exec::entry(&mut execs, exec_id)?.deletable()?;
            execs.remove(exec_id);
            return Ok(());
        }
        if let Some(mounted) = self.mounted() {
            mounted.unmount()?;
            self.set_phase(Phase::Deleted);
            return Ok(());
        }
        let container = self.live()?;
        self.take_phase("delete", |phase| matches!(phase, Phase::Live(_)))?;
        match cleanup::delete(&self.runtime, &container).await {
            Ok(()) => {
                locked(&self.execs).clear();
                self.set_phase(Phase::Deleted);
                Ok(())
            }
            Err(err) => {
                self.set_phase(Phase::Live(container));
                Err(err)
            }
        }
    }

    fn vm(&self) -> Option<VmProcess> {
        None
    }
}
