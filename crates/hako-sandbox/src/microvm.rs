//! The hyperv wall: a virtual machine with a kernel of its own, and in it
//! `hako-agent`, which holds the process wall's sandbox.
//!
//! ```text
//! Empty ── create: boot, Configure, streams, Create ──► Booted ── delete ──► Gone
//!       └─ mount: boot, Configure, Mount ───────────────►┘ (files alone)
//!                     │ (deadline, retries)                │
//!                     └── failed: the VM is ended          └── the VM died: every wait ends with exit 137
//! ```
//!
//! Nothing here falls back to this kernel: without a VM there is an error.

mod boot;
mod figures;
mod group;
mod grow;
mod guest;
mod network;
mod patience;
mod rest;
mod shares;
pub mod sizing;
mod stdio;
pub mod template;
mod waiting;

pub use waiting::{STREAMS, Waiting};

use crate::{CreateRequest, Figures, Sandbox, Stdio, StdioRequest};
use async_trait::async_trait;
use group::{Asked, Group};
use guest::{Guest, Parts, SIGKILL};
use hako_model::{
    Error, ExitDetails, NetworkChange, ProcessList, Result, SandboxConfig, VmConfig, VmNetwork, VmProcess,
};
use hako_task::{
    extra::MountRequest,
    files::{FilesRequest, refuse},
};
use shares::ShareServer;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::UnixStream, sync::RwLock};

/// How long a guest may take to obey SIGKILL before its machine is killed. It is
/// not trusted, and its processes may wait in its kernel for what does not come.
/// What it has not written to its disk by then is lost, so it has more time where
/// somebody may still want it.
const IN_ORDER: Duration = Duration::from_secs(20);
/// Where nobody does: all of its processes are to die.
const AT_ONCE: Duration = Duration::from_secs(6);

/// One container in one VM.
#[derive(Debug)]
pub struct MicroVm {
    config: SandboxConfig,
    /// The shim's folder: the console's log goes there.
    dir: PathBuf,
    /// The machine to take, if one has waited.
    waiting: std::sync::Mutex<Option<Waiting>>,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Empty,
    Booted(Arc<Guest>),
    Gone,
}

impl MicroVm {
    /// A sandbox with no VM yet. Nothing is touched before `create`. `dir` is an
    /// existing folder for the console's log.
    ///
    /// QEMU dies with the thread that calls `create`: call it on one that lives
    /// as long as the container.
    #[must_use]
    pub fn new(config: SandboxConfig, dir: PathBuf) -> Self {
        Self { config, dir, waiting: std::sync::Mutex::default(), state: RwLock::new(State::Empty) }
    }

    /// As [`MicroVm::new`], with a machine that has waited. It is taken if it
    /// serves, and ended if not.
    #[must_use]
    pub fn with_waiting(config: SandboxConfig, dir: PathBuf, waiting: Waiting) -> Self {
        Self { waiting: std::sync::Mutex::new(Some(waiting)), ..Self::new(config, dir) }
    }

    /// A guest in a cgroup of its own; on an error there is neither.
    async fn boot(&self, asked: &Asked, network: Option<VmNetwork>) -> Result<Guest> {
        let absent = || Error::invalid("sandbox.json describes no virtual machine");
        let vm = VmConfig { network, ..self.config.vm.clone().ok_or_else(absent)? };
        let group = Group::make(asked).await?;
        match self.boot_in(&vm, &group).await {
            Ok(parts) => {
                group::adjust_oom_score(parts.vm.pid(), asked.oom_score_adj);
                Ok(Guest::new(self.config.clone(), &vm, group, parts))
            }
            Err(err) => {
                group.remove().await;
                Err(err)
            }
        }
    }

    /// The machine that has waited, if there is one and it serves.
    async fn take_waiting(&self, vm: &VmConfig, group: &Group) -> Option<Parts> {
        let waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()?;
        match waiting.take(&self.config, vm, &group.procs()).await {
            Ok(parts) => Some(parts),
            Err(err) => {
                tracing::warn!("{err}");
                None
            }
        }
    }

    /// The VM, and who serves it host folders if it has any.
    async fn boot_in(&self, vm: &VmConfig, group: &Group) -> Result<Parts> {
        if let Some(parts) = self.take_waiting(vm, group).await {
            return Ok(parts);
        }
        let Some(shares) = &vm.shares else {
            return boot::boot(&self.config, vm, &self.dir, group.procs(), None).await;
        };
        let (mut server, connection) = ShareServer::start(shares, group.procs())?;
        let booted = match boot::boot(&self.config, vm, &self.dir, group.procs(), Some(connection)).await {
            Ok(parts) => server.ready().await.map(|()| parts),
            Err(err) => Err(err),
        };
        match booted {
            Ok(parts) => {
                server.guard(parts.vm.kill_switch());
                Ok(Parts { shares: Some(server), ..parts })
            }
            Err(err) => {
                server.end().await;
                Err(err)
            }
        }
    }

    async fn guest(&self) -> Result<Arc<Guest>> {
        match &*self.state.read().await {
            State::Booted(guest) => Ok(guest.clone()),
            State::Empty => Err(Error::conflict("the container's virtual machine has not been started")),
            State::Gone => Err(Error::not_found("the container's virtual machine is gone")),
        }
    }
}

#[async_trait]
impl Sandbox for MicroVm {
    async fn create(&self, req: CreateRequest) -> Result<(i32, Stdio)> {
        let mut state = self.state.write().await;
        if !matches!(*state, State::Empty) {
            return Err(Error::conflict("the container's virtual machine exists already"));
        }
        let network = self.config.vm.as_ref().and_then(|vm| vm.network.clone());
        let asked = Asked::of(&req.bundle)?;
        let guest = Arc::new(self.boot(&asked, network.clone()).await?);
        // Both at the same time, and nothing runs before both are done: a container
        // that asked for a network and got none does not start.
        let network = network.unwrap_or_default();
        let joined = guest.networks(&network, &asked.net_sysctls);
        match tokio::try_join!(guest.create(&req, &asked.guest), joined) {
            Ok((created, ())) => {
                *state = State::Booted(guest);
                Ok(created)
            }
            Err(err) => {
                // Nothing has run in it, so nothing is worth a sync.
                let _ = guest.end(true).await;
                Err(err)
            }
        }
    }
    async fn exec(&self, exec_id: &str, process: Vec<u8>, stdio: StdioRequest) -> Result<Stdio> {
        self.guest().await?.exec(exec_id, process, stdio).await
    }
    async fn start(&self, exec_id: Option<&str>) -> Result<i32> {
        self.guest().await?.start(exec_id).await
    }
    async fn kill(&self, exec_id: Option<&str>, signal: u32, all: bool) -> Result<()> {
        let guest = self.guest().await?;
        if signal == SIGKILL && exec_id.is_none() {
            tokio::spawn(guest.clone().insist(if all { AT_ONCE } else { IN_ORDER }));
        }
        guest.kill(exec_id, signal, all).await
    }
    async fn wait(&self, exec_id: Option<&str>) -> Result<ExitDetails> {
        let guest = self.guest().await?;
        let exit = guest.wait(exec_id).await;
        if exec_id.is_none() {
            // Whoever waits takes an error for an end as well.
            guest.has_ended();
        }
        exit
    }
    async fn resize(&self, exec_id: Option<&str>, width: u16, height: u16) -> Result<()> {
        self.guest().await?.resize(exec_id, width, height).await
    }
    async fn pids(&self) -> Result<Vec<i32>> {
        self.guest().await?.pids().await
    }
    async fn pause(&self) -> Result<()> {
        self.guest().await?.pause().await
    }
    async fn resume(&self) -> Result<()> {
        self.guest().await?.resume().await
    }
    async fn processes(&self) -> Result<ProcessList> {
        self.guest().await?.processes().await
    }
    async fn stats(&self) -> Result<Figures> {
        let memory = self.config.vm.as_ref().map_or(0, |vm| vm.memory_mib << 20);
        self.guest().await?.stats(memory).await
    }
    async fn network(&self, change: NetworkChange) -> Result<()> {
        self.guest().await?.network(change).await
    }
    async fn update(&self, resources: Vec<u8>) -> Result<()> {
        self.guest().await?.update(&resources).await
    }
    async fn mount(&self, req: MountRequest) -> Result<()> {
        let mut state = self.state.write().await;
        if !matches!(*state, State::Empty) {
            return Err(Error::conflict("the container's virtual machine exists already"));
        }
        // There for a moment, and for nobody to be compared with.
        let guest = Arc::new(self.boot(&Asked::default(), None).await?);
        match guest.mount(&req).await {
            Ok(()) => {
                *state = State::Booted(guest);
                Ok(())
            }
            Err(err) => {
                let _ = guest.end(true).await;
                Err(err)
            }
        }
    }
    async fn files(&self, request: FilesRequest, mut client: UnixStream) {
        let served = match self.guest().await {
            Ok(guest) => guest.files(request, &mut client).await,
            Err(err) => Err(err),
        };
        if let Err(err) = served {
            // A client that has gone needs no answer.
            let _ = refuse(&mut client, err).await;
        }
    }
    async fn delete(&self, exec_id: Option<&str>) -> Result<()> {
        if exec_id.is_some() {
            return self.guest().await?.delete_exec(exec_id).await;
        }
        let mut state = self.state.write().await;
        let ended = match &*state {
            State::Booted(guest) => guest.end(self.config.ephemeral).await,
            State::Empty | State::Gone => Ok(()),
        };
        *state = State::Gone;
        ended
    }
    fn vm(&self) -> Option<VmProcess> {
        // Held for writing only while the VM starts or ends.
        match &*self.state.try_read().ok()? {
            State::Booted(guest) => guest.process(),
            State::Empty | State::Gone => None,
        }
    }
}
