//! QEMU's `microvm` and `virt` machines: their command line, their process, QMP, and the
//! question which accelerator works. Knows no containers.
//!
//! ```text
//! Machine ──argv, fds──► Vm::spawn ──► Vm { agent socket, console's tail, Qmp, exit }
//! probe_accelerator: the same, with a guest that says hello and ends
//! Memory::File ──► Vm::save ──► Template ──► Memory::Copy ──► Vm::spawn, Vm::wake
//! ```

mod board;
mod discard;
mod error;
mod machine;
mod probe;
mod qmp;
mod spawn;
mod tail;
mod template;
mod tsc;
mod usage;
mod vm;

pub use board::Board;
pub use error::{Error, Result};
pub use machine::{
    AGENT_PORT, Accelerator, Drive, MOST_DRIVES, Machine, Memory, Nic, PROBE_ARG, PROBE_HELLO, SHARES_PORT,
    TEMPLATE_ARG, Tap, Template,
};
pub use probe::{Probe, ProbeRequest, probe_accelerator};
pub use qmp::{Command, DEADLINE, Qmp};
pub use spawn::{find_program, is_installed};
pub use tsc::tsc_khz;
pub use usage::Usage;
pub use vm::{KillSwitch, Vm};
