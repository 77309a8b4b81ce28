//! What a container uses and which processes it has, as the side of the wall
//! where it runs reads them.

use serde::{Deserialize, Serialize};

/// The kernel that a container runs on, at the moment of a reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelFigures {
    /// Time that all its CPUs have spent, idle or not, in nanoseconds.
    pub cpu_ns: u64,
    /// CPUs online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// What a virtual machine itself costs its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmFigures {
    /// CPU time of the VM's process in its own code, the guest's included, in nanoseconds.
    pub user_ns: u64,
    /// CPU time of the host's kernel for it, in nanoseconds.
    pub system_ns: u64,
    /// Bytes of its memory that are in the host's.
    pub resident: u64,
    /// Those of them that no file backs: what the host cannot drop.
    pub anonymous: u64,
    /// Bytes of memory that the guest has been given.
    pub guest_memory: u64,
}

/// The most processes of one container that are listed.
pub const MOST_PROCESSES: usize = 8192;
/// The most bytes of command lines that one list carries; the message that
/// carries it may have 4 MiB.
pub const MOST_COMMAND_BYTES: usize = 1 << 20;
/// The most bytes of one command line that are shown.
pub const MOST_COMMAND: usize = 4096;

/// A container's processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessList {
    /// Since the kernel booted, in hundredths of a second: the clock of `start`.
    pub uptime: u64,
    /// Bytes of memory of that kernel.
    pub memory: u64,
    /// In the order of their numbers.
    pub processes: Vec<ProcessFacts>,
}

/// One process, in the kernel's own terms (`proc_pid_stat(5)`). Times are in
/// hundredths of a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The names are the kernel's.
pub struct ProcessFacts {
    pub pid: i32,
    pub ppid: i32,
    pub pgid: i32,
    pub sid: i32,
    pub tty: i32,
    pub tpgid: i32,
    pub state: char,
    pub flags: u32,
    /// Real, effective, saved.
    pub uid: [u32; 3],
    /// Real, effective, saved.
    pub gid: [u32; 3],
    pub utime: u64,
    pub stime: u64,
    pub start: u64,
    pub priority: i64,
    pub nice: i64,
    pub threads: i64,
    /// Virtual memory in bytes.
    pub vsize: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Locked memory in bytes.
    pub locked: u64,
    pub processor: i32,
    pub policy: u32,
    pub rt_priority: u32,
    pub minflt: u64,
    pub majflt: u64,
    pub wchan: String,
    /// The program's short name.
    pub comm: String,
    /// The command line, its words joined by spaces; empty for a process without one.
    pub args: String,
}
