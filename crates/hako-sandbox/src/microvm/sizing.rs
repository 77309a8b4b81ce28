//! How large a VM is: `hako_platform::sizing`, with QEMU's word for how it runs.

pub use hako_platform::sizing::{Sizing, memory_mib, most_limit, own_need};

use hako_platform::sizing;
use hako_qemu::Accelerator;

/// What is known of the host.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its memory in bytes.
    pub memory: u64,
    /// Its CPUs.
    pub cpus: u32,
    /// How guests run on it.
    pub accelerator: Accelerator,
}

/// The VM for a container with these limits (`-m` in bytes, `--cpus` in billionths).
#[must_use]
pub fn sizing(host: Host, memory_limit: Option<u64>, nano_cpus: Option<u64>) -> Sizing {
    let emulated = host.accelerator == Accelerator::Tcg;
    let host = sizing::Host { memory: host.memory, cpus: host.cpus, emulated };
    sizing::sizing(host, memory_limit, nano_cpus)
}
