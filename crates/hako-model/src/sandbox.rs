//! What the engine tells a shim, and what a shim keeps on disk.
//! `sandbox.json` and `state.json` in a shim's folder carry these.

use crate::{ContainerId, Isolation, VmNetwork};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// `sandbox.json`: everything a shim needs beside the OCI bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The container that the shim serves.
    pub id: ContainerId,
    /// The wall.
    pub isolation: Isolation,
    /// Where the log goes.
    pub log: LogConfig,
    /// Whether the container's stdin was asked for (`-i`).
    pub open_stdin: bool,
    /// Whether stdin closes when the first attached client goes (`StdinOnce`).
    pub stdin_once: bool,
    /// The `hako-runtime` program (process wall; the guest has its own).
    pub runtime: PathBuf,
    /// The runtime's `--root`, where it keeps its state (process wall).
    pub runtime_root: PathBuf,
    /// The virtual machine; present exactly when the wall is `hyperv`.
    pub vm: Option<VmConfig>,
    /// The container is removed when it ends (`--rm`): nothing that it wrote
    /// need reach the disk, so a VM may be ended without a sync.
    pub ephemeral: bool,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver.
    pub driver: LogDriver,
    /// The file, for drivers that have one.
    pub path: Option<PathBuf>,
    /// How large it gets before the next one begins, in bytes.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files there are at most, at least 1.
    #[serde(default = "one")]
    pub max_files: u32,
    /// Whether those before the present one are compressed.
    #[serde(default)]
    pub compress: bool,
    /// In every record: labels, variables and a tag, by `--log-opt`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// How many bytes may wait to be written before output is dropped; without
    /// this, a log that is slow slows the container.
    #[serde(default)]
    pub buffer: Option<u64>,
}

fn one() -> u32 {
    1
}

impl LogConfig {
    /// One file that grows without end, or nothing.
    #[must_use]
    pub fn plain(driver: LogDriver, path: Option<PathBuf>) -> Self {
        Self { driver, path, max_size: None, max_files: 1, compress: false, attributes: BTreeMap::new(), buffer: None }
    }
}

/// Docker's log drivers that exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// One JSON object a line: `{"log":…,"stream":…,"time":…}`.
    JsonFile,
    /// The same inside; nobody but the engine reads it.
    Local,
    /// Nothing is kept.
    None,
}

/// A virtual machine for one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmConfig {
    /// How it boots.
    pub boot: BootConfig,
    /// The guest's memory in MiB: what the workload gets and the VM's own need.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// What they can grow to while it runs.
    #[serde(default)]
    pub most_cpus: u32,
    /// Disks, found in the guest by their serial.
    pub disks: Vec<Disk>,
    /// Folders and files of the host, for a guest that has any.
    #[serde(default)]
    pub shares: Option<Shares>,
    /// Its network; without one it has `lo` alone.
    #[serde(default)]
    pub network: Option<VmNetwork>,
    /// A template of exactly this machine. Without it, or where it does not
    /// serve, the machine boots.
    #[serde(default)]
    pub template: Option<TemplateFiles>,
}

/// A machine that was booted once, halted and saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFiles {
    /// The guest's memory.
    pub memory: OpenFile,
    /// The state of all else.
    pub state: OpenFile,
}

/// A file that another process has open, and that need not have a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// `/proc/<pid>/fd/<number>`.
    pub path: PathBuf,
    /// The device that it is on, and its inode there: by its path alone it may be
    /// another's by now.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// `wait.json`: a machine that is to wait for its container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitConfig {
    /// With a template, and with disks and a network for a rehearsal.
    pub vm: VmConfig,
    /// What the rehearsal mounts.
    pub rootfs: Vec<WaitMount>,
}

/// As containerd's `Mount`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitMount {
    /// The filesystem.
    pub kind: String,
    /// The device or source.
    pub source: String,
    /// Where, relative to the bundle; empty for `rootfs`.
    pub target: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// What a shim that waits is told, with the sockets of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Take {
    /// The container's shim folder, with its `sandbox.json`.
    pub dir: PathBuf,
}

/// How a container's virtual machine came to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// It was booted.
    #[default]
    Boot,
    /// It is a copy of a template.
    Template,
    /// It was booted, because the template did not serve.
    Failed {
        /// Why.
        why: String,
    },
    /// It is a copy of a template that had waited, rehearsed.
    Pool,
}

/// A container's virtual machine on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmProcess {
    /// QEMU's process.
    pub pid: i32,
    /// How it came to run.
    pub origin: Origin,
}

/// What a guest sees of the host's files: `0`, `1`, … of one mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// The program that serves them: `hako-shim`, whose `fs` it is.
    pub server: PathBuf,
    /// The folders and files.
    pub list: Vec<Share>,
}

/// A folder or file of the host in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where it is on the host.
    pub source: PathBuf,
    /// What of it: a path that may not lead out of it, whatever links it has.
    #[serde(default)]
    pub beneath: PathBuf,
    /// Whether nothing may be written to it.
    pub read_only: bool,
    /// Whether what is mounted below it stays away.
    #[serde(default)]
    pub non_recursive: bool,
}

/// What the guest's port for shares is called (`/sys/class/virtio-ports/*/name`),
/// and the source of a mount of kind `fuse`.
pub const SHARES_PORT: &str = "hako.fs";
/// The serial of the disk through which large data of shares passes: the host's
/// memory, [`WINDOW_SLOTS`] slots of [`WINDOW_SLOT`] bytes. The guest's agent says
/// in a request which slot is the request's (bytes 38 and 39 of its head, counted
/// from one); a READ's data is put there and a WRITE's is found there.
pub const SHARES_WINDOW: &str = "hako.window";
/// Requests that have large data, at a time.
pub const WINDOW_SLOTS: u16 = 8;
/// The most bytes that one request carries.
pub const WINDOW_SLOT: u32 = 1 << 20;
/// Where a guest has the mount with the shares, in the bundle.
pub const SHARES_DIR: &str = "shares";

/// The host's half of a boot: the same for every VM with one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootConfig {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// What the guest is made for, by QEMU's names: `microvm`, `microvm-acpi`, `virt`.
    #[serde(default = "microvm")]
    pub board: String,
    /// The kernel, in a form that the board boots.
    pub kernel: PathBuf,
    /// The initramfs with hako-agent and hako-runtime.
    pub initramfs: PathBuf,
    /// `kvm` or `tcg`, as the probe found it.
    pub accelerator: String,
    /// Added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// How long one boot may take until the agent answers, in milliseconds.
    pub deadline_ms: u64,
    /// How many boots are tried before the start fails, at least 1.
    pub attempts: u32,
}

/// The board of before there were several.
fn microvm() -> String {
    "microvm".to_owned()
}

/// One virtio-blk disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disk {
    /// The serial by which the guest finds it: `rootfs` or `scratch`.
    pub serial: String,
    /// The raw image.
    pub path: PathBuf,
    /// How long that is, in bytes, if it is known: the image may be gone when
    /// somebody wants a machine like the one that had it.
    #[serde(default)]
    pub size: Option<u64>,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// `state.json`: what a shim knows, durable before it is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimState {
    /// The shim's own process.
    pub shim_pid: i32,
    /// QEMU's process, behind the hyperv wall.
    pub vm_pid: Option<i32>,
    /// How that came to run.
    #[serde(default)]
    pub vm_origin: Origin,
    /// Where the container's first process stands.
    pub phase: ShimPhase,
}

/// The life of the container's first process, as its shim sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum ShimPhase {
    /// The shim serves; nothing is created yet.
    Empty,
    /// Created and waiting for start.
    Created {
        /// Its pid: the host's behind the process wall, the guest's behind the other.
        pid: i32,
    },
    /// Started.
    Running {
        /// As in `Created`.
        pid: i32,
    },
    /// Ended.
    Exited(ExitDetails),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitDetails {
    /// 0 to 255; death by signal n is 128+n.
    pub exit_code: i32,
    /// When, RFC 3339 with nanoseconds, UTC.
    pub exited_at: String,
    /// Whether the kernel killed a process of the container for memory.
    pub oom_killed: bool,
    /// Why, where the container did not end by itself (a VM that died, a shim that was killed).
    pub error: Option<String>,
}
