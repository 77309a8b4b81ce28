//! One container behind one wall: the trait, and its two implementations.
//!
//! ```text
//!            create            start             (ends)            delete
//!   Empty ──────────► Created ───────► Running ─────────► Exited ─────────► Deleted
//!                        └────────────── kill ──────────────┘
//!            mount                               delete
//!   Empty ──────────► Mounted (no container) ─────────────► Deleted
//! ```
//!
//! `hako-shim` holds one `Sandbox`; which implementation it is, the shim learns
//! from `sandbox.json` and then never asks again. `hako-agent` holds the
//! process implementation inside the guest.

use async_trait::async_trait;
use hako_model::{ExitDetails, KernelFigures, NetworkChange, ProcessList, Result, VmFigures, VmProcess};
use hako_task::{extra::MountRequest, files::FilesRequest};
use std::path::PathBuf;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

pub mod conformance;
pub mod frames;
pub mod microvm;
pub mod process;

/// A byte source of a process's output.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;
/// The byte sink of a process's input. Dropping (or shutting down) it closes
/// the process's stdin; for a tty it does nothing.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// A process's streams. All are taken by the caller, who must drain the outputs.
pub struct Stdio {
    /// Present when it was asked for.
    pub stdin: Option<Input>,
    /// The output, or the tty's output.
    pub stdout: Option<Output>,
    /// Absent with a tty.
    pub stderr: Option<Output>,
}

/// How a process's streams are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdioRequest {
    /// A pseudo-terminal instead of three pipes.
    pub terminal: bool,
    /// Whether stdin is wanted; without it the process reads `/dev/null`.
    pub stdin: bool,
}

/// The container's cgroup in a virtual machine, which has one container: it can
/// be made before there is a container.
pub const GUEST_CGROUP: &str = "/hako/container";

/// A filesystem to mount for the container, as containerd's `Mount`.
#[derive(Debug, Clone)]
pub struct Mount {
    /// `overlay`, `erofs`, `ext4`, `bind`; `shared` is a mount of another container.
    pub kind: String,
    /// The device or source; `serial:<name>` names a disk by its serial.
    pub source: String,
    /// Where, relative to the bundle; empty for `rootfs`.
    pub target: String,
    /// Mount options. Relative directories in them (`lowerdir=lower`) are in the bundle.
    pub options: Vec<String>,
}

/// What create needs.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// The container.
    pub id: String,
    /// The OCI bundle on this side of the wall: `config.json` and its files.
    pub bundle: PathBuf,
    /// The root filesystem, mounted in order onto `bundle/rootfs` (or `target`).
    pub rootfs: Vec<Mount>,
    /// Streams of the first process.
    pub stdio: StdioRequest,
}

/// What a container uses, all of it read at one moment.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The type URL of containerd's cgroup metrics.
    pub type_url: String,
    /// That message.
    pub metrics: Vec<u8>,
    /// The kernel that the workload runs on.
    pub kernel: KernelFigures,
    /// What the VM costs this host, behind the hyperv wall.
    pub vm: Option<VmFigures>,
}

/// One container behind a wall. `exec_id` is `None` for the container's first
/// process. Every method may be called while another runs; none falls back to
/// the other wall, and what a wall cannot do answers `Unsupported` by name.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Makes the sandbox and the container in it; its first process waits for
    /// `start`. On an error nothing is left behind.
    async fn create(&self, req: CreateRequest) -> Result<(i32, Stdio)>;
    /// Registers a further process from an OCI `process` object (JSON).
    async fn exec(&self, exec_id: &str, process: Vec<u8>, stdio: StdioRequest) -> Result<Stdio>;
    /// Starts a created process; the pid is the one inside the wall's kernel.
    async fn start(&self, exec_id: Option<&str>) -> Result<i32>;
    /// Sends `signal` to the process, or with `all` to every process of the container.
    async fn kill(&self, exec_id: Option<&str>, signal: u32, all: bool) -> Result<()>;
    /// Waits for the process's end; answers at once if it has ended, any number of times.
    async fn wait(&self, exec_id: Option<&str>) -> Result<ExitDetails>;
    /// Sets the tty's size in character cells.
    async fn resize(&self, exec_id: Option<&str>, width: u16, height: u16) -> Result<()>;
    /// The container's processes, numbered as the wall's kernel does.
    async fn pids(&self) -> Result<Vec<i32>>;
    /// Freezes the container.
    async fn pause(&self) -> Result<()>;
    /// Thaws it.
    async fn resume(&self) -> Result<()>;
    /// The container's processes, with what `ps` shows of them.
    async fn processes(&self) -> Result<ProcessList>;
    /// Figures of the workload.
    async fn stats(&self) -> Result<Figures>;
    /// Changes the network of a container that runs. Behind the process wall
    /// there is nothing to do in the sandbox: `Unsupported`.
    async fn network(&self, change: NetworkChange) -> Result<()>;
    /// Changes limits: an OCI `linux.resources` object (JSON).
    async fn update(&self, resources: Vec<u8>) -> Result<()>;
    /// Mounts the container's root filesystem for [`Sandbox::files`], with no
    /// container in it. On an error nothing is left behind.
    async fn mount(&self, req: MountRequest) -> Result<()>;
    /// Serves one request on the container's files over `client`, to its end;
    /// what goes wrong is said there.
    async fn files(&self, request: FilesRequest, client: UnixStream);
    /// Forgets an ended exec, or ends the whole sandbox (`None`): processes,
    /// cgroup, mounts, VM. Goes on past errors and reports all of them.
    async fn delete(&self, exec_id: Option<&str>) -> Result<()>;
    /// The VM's process on this host, behind the hyperv wall.
    fn vm(&self) -> Option<VmProcess>;
}
