//! How large a VM is, so that `-m` and `--cpus` mean what they mean behind the
//! process wall: the workload may use exactly its limit, and what the guest's
//! kernel and agent take is added on top.
//!
//! An out-of-memory must always be the cgroup's (exit 137, `OOMKilled`), never
//! the guest's as a whole, which could hit the agent. So a VM without a limit
//! gets one as well: its memory less its own need.

use crate::tables;

const MIB: u64 = 1024 * 1024;

/// The kernel's image and its fixed tables, agent, runtime and initramfs;
/// measured, see docs/decisions/0005-vm-sizing.md.
const FIXED_NEED: u64 = 72 * MIB;
/// Page structures, what the kernel keeps free so that it can work, and what
/// else grows with memory: one part in this many.
const NEED_DIVISOR: u64 = 16;

/// Without `-m`: this part of the host's memory, within these bounds.
const DEFAULT_DIVISOR: u64 = 4;
const DEFAULT_LEAST: u64 = 512 * MIB;
const DEFAULT_MOST: u64 = 4096 * MIB;

/// A running workload's limit can be raised to this many times what it began with.
const HEADROOM: u64 = 2;

/// A second emulated CPU costs a tenth of a second at boot, further ones gain nothing.
const DEFAULT_TCG_CPUS: u32 = 2;
/// The most that a guest has: `NR_CPUS` of guest/kernel/config.
pub const MOST_CPUS: u32 = 32;

const NANO: u64 = 1_000_000_000;

/// The size of one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sizing {
    /// The guest's memory.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// What it can grow to.
    pub most_cpus: u32,
    /// Bytes for the container's cgroup in the guest (`linux.resources.memory.limit`).
    pub workload_limit: u64,
}

/// What is known of the host.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its memory in bytes.
    pub memory: u64,
    /// Its CPUs.
    pub cpus: u32,
    /// Guests are emulated on it.
    pub emulated: bool,
}

/// The VM for a container with these limits (`-m` in bytes, `--cpus` in billionths).
#[must_use]
pub fn sizing(host: Host, memory_limit: Option<u64>, nano_cpus: Option<u64>) -> Sizing {
    let (memory, workload_limit) = match memory_limit.filter(|limit| *limit > 0) {
        // With room for `update -m`: what is not touched costs the host nothing.
        Some(limit) => (vm_for(limit.saturating_mul(HEADROOM)).min(host.memory).max(vm_for(limit)), limit),
        None => {
            let memory = (host.memory / DEFAULT_DIVISOR).clamp(DEFAULT_LEAST, DEFAULT_MOST);
            (memory, memory - own_need(memory))
        }
    };
    let memory_mib = memory.div_ceil(MIB);
    Sizing { memory_mib, cpus: cpus(host, nano_cpus), most_cpus: host.cpus.clamp(1, MOST_CPUS), workload_limit }
}

/// The utility VM of a Windows container with these limits, on a host with
/// `host_cpus` (0: unknown): HCS makes it, and these are its rules.
#[must_use]
pub fn utility_vm(memory_limit: Option<u64>, nano_cpus: Option<u64>, host_cpus: u32) -> Sizing {
    let table = &tables().utility_vm;
    let memory_mib = match memory_limit.filter(|limit| *limit > 0) {
        Some(limit) => {
            let with_own = limit.div_ceil(MIB).saturating_add(table.overhead_mib);
            with_own.checked_next_multiple_of(table.round_to_mib.max(1)).unwrap_or(u64::MAX)
        }
        None => table.default_mib,
    };
    let most_cpus = if host_cpus == 0 { u32::MAX } else { host_cpus };
    let cpus = match nano_cpus.filter(|nano| *nano > 0) {
        Some(nano) => u32::try_from(nano.div_ceil(NANO)).unwrap_or(u32::MAX),
        None => table.default_cpus,
    };
    let cpus = cpus.clamp(1, most_cpus);
    let workload_limit = memory_limit.filter(|limit| *limit > 0).unwrap_or(memory_mib.saturating_mul(MIB));
    Sizing { memory_mib, cpus, most_cpus: if host_cpus == 0 { cpus } else { host_cpus }, workload_limit }
}

/// What a VM of this size takes for itself.
#[must_use]
pub fn own_need(memory: u64) -> u64 {
    FIXED_NEED + memory / NEED_DIVISOR
}

/// The guest's memory in which a workload with this limit has room.
#[must_use]
pub fn memory_mib(limit: u64) -> u64 {
    vm_for(limit).div_ceil(MIB)
}

/// The most that a workload can have in a guest with this memory.
#[must_use]
pub fn most_limit(memory_mib: u64) -> u64 {
    let memory = memory_mib.saturating_mul(MIB);
    memory.saturating_sub(own_need(memory))
}

/// The VM in which a workload of `limit` has room.
fn vm_for(limit: u64) -> u64 {
    // memory - memory / D = limit + FIXED, solved for memory.
    (limit.saturating_add(FIXED_NEED) / (NEED_DIVISOR - 1)).saturating_mul(NEED_DIVISOR)
}

fn cpus(host: Host, nano_cpus: Option<u64>) -> u32 {
    let host_cpus = host.cpus.clamp(1, MOST_CPUS);
    match nano_cpus.filter(|nano| *nano > 0) {
        Some(nano) => u32::try_from(nano.div_ceil(NANO)).unwrap_or(u32::MAX).clamp(1, host_cpus),
        None if host.emulated => host_cpus.min(DEFAULT_TCG_CPUS),
        None => host_cpus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { memory: 24 * 1024 * MIB, cpus: 8, emulated: true };

    #[test]
    fn a_limit_is_the_workloads_own() {
        for limit in [6, 64, 256, 1024, 16 * 1024] {
            let size = sizing(HOST, Some(limit * MIB), None);
            assert_eq!(size.workload_limit, limit * MIB);
            let memory = size.memory_mib * MIB;
            assert!(memory + MIB >= size.workload_limit + own_need(memory), "{limit}");
        }
    }

    #[test]
    fn without_a_limit_the_host_decides() {
        let size = sizing(HOST, None, None);
        assert_eq!(size.memory_mib, 4096);
        assert!(size.workload_limit < size.memory_mib * MIB);
        let small = Host { memory: 1024 * MIB, ..HOST };
        assert_eq!(sizing(small, Some(0), None).memory_mib, 512);
    }

    /// docker/cli's own example: `-m 2GB` shows 2683355136 bytes.
    #[test]
    fn a_utility_vm_is_as_hcs_makes_it() {
        let size = |mib: u64| utility_vm(Some(mib * MIB), None, 4).memory_mib;
        assert_eq!((size(2048), size(256), size(257), utility_vm(None, None, 4).memory_mib), (2560, 512, 1024, 1024));
        assert_eq!(utility_vm(None, None, 1).cpus, 1);
        assert_eq!(utility_vm(None, Some(NANO * 3 / 2), 4).cpus, 2);
        assert_eq!(utility_vm(None, Some(u64::MAX), 4).cpus, 4);
        assert_eq!(
            utility_vm(Some(u64::MAX), Some(u64::MAX), 0).cpus,
            u32::try_from(u64::MAX.div_ceil(NANO)).unwrap_or(u32::MAX)
        );
    }

    #[test]
    fn cpus_are_rounded_up_and_exist() {
        assert_eq!(sizing(HOST, None, Some(NANO / 2)).cpus, 1);
        assert_eq!(sizing(HOST, None, Some(NANO * 3 / 2)).cpus, 2);
        assert_eq!(sizing(HOST, None, Some(NANO * 100)).cpus, 8);
        assert_eq!(sizing(HOST, None, None).cpus, 2);
        assert_eq!(sizing(Host { emulated: false, ..HOST }, None, None).cpus, 8);
    }
}
