//! QEMU's `microvm` and `virt` machines: their command line, their process, QMP, and the
//! question which accelerator works. Knows no containers.
//!
//! ```text
//! Machine ──argv, fds──► Vm::spawn ──► Vm { agent socket, console's tail, Qmp, exit }
//! probe_accelerator: the same, with a guest that says hello and ends
//! ```

mod board;
mod error;
mod machine;
mod probe;
mod qmp;
mod spawn;
mod tail;
mod tsc;
mod usage;
mod vm;

pub use board::Board;
pub use error::{Error, Result};
pub use machine::{AGENT_PORT, Accelerator, Drive, MOST_DRIVES, Machine, Nic, PROBE_ARG, PROBE_HELLO, SHARES_PORT};
pub use probe::{Probe, ProbeRequest, probe_accelerator};
pub use qmp::Qmp;
pub use spawn::is_installed;
pub use tsc::tsc_khz;
pub use usage::Usage;
pub use vm::{KillSwitch, Vm};
