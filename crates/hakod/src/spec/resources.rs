//! `linux.resources` of the OCI spec.

use crate::{containers::record::Record, host::HostInfo};
use hako_model::{Isolation, policy};
use serde_json::{Map, Value, json};
use std::fs;

/// Microseconds in which `--cpus` is counted, as Docker's.
const PERIOD: i64 = 100_000;

/// The limits. `workload_limit` is the memory that a VM leaves for the
/// container, whether it asked for a limit or not.
pub fn oci(record: &Record, info: &HostInfo, workload_limit: Option<u64>) -> Value {
    let mut resources = Map::new();
    let devices =
        if record.host.privileged { json!([{"allow": true, "access": "rwm"}]) } else { json!(policy::device_rules()) };
    resources.insert("devices".into(), devices);
    let memory = memory(record, info, workload_limit);
    if !memory.is_empty() {
        resources.insert("memory".into(), Value::Object(memory));
    }
    let cpu = cpu(record);
    if !cpu.is_empty() {
        resources.insert("cpu".into(), Value::Object(cpu));
    }
    if let Some(limit) = record.host.pids_limit {
        resources.insert("pids".into(), json!({"limit": limit}));
    }
    Value::Object(resources)
}

fn memory(record: &Record, info: &HostInfo, workload_limit: Option<u64>) -> Map<String, Value> {
    let host = &record.host;
    let mut memory = Map::new();
    let limit = match workload_limit {
        Some(limit) => i64::try_from(limit).unwrap_or(i64::MAX),
        None => host.memory,
    };
    if limit > 0 {
        memory.insert("limit".into(), json!(limit));
    }
    if host.memory_reservation > 0 {
        memory.insert("reservation".into(), json!(host.memory_reservation));
    }
    // A guest has no swap at all.
    if record.isolation == Isolation::Process && host.memory_swap != 0 && has_swap_limit(info) {
        memory.insert("swap".into(), json!(host.memory_swap));
    }
    // Swappiness is version 1's alone.
    if let Some(swappiness) = host.memory_swappiness.filter(|s| *s >= 0)
        && record.isolation == Isolation::Process
        && info.cgroup_version == 1
    {
        memory.insert("swappiness".into(), json!(swappiness));
    }
    if host.oom_kill_disable == Some(true) && info.cgroup_version == 1 && record.isolation == Isolation::Process {
        memory.insert("disableOOMKiller".into(), json!(true));
    }
    memory
}

/// Whether the host's kernel counts swap.
fn has_swap_limit(info: &HostInfo) -> bool {
    if info.cgroup_version == 1 {
        return fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").unwrap_or(false);
    }
    // Only groups below the root have the file. Where there is none yet, the
    // kernel is taken to count: hako-runtime looks again.
    let mut groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|group| group.path());
    !groups.any(|group| group.join("memory.max").exists() && !group.join("memory.swap.max").exists())
}

fn cpu(record: &Record) -> Map<String, Value> {
    let host = &record.host;
    let mut cpu = Map::new();
    if host.cpu_shares > 0 {
        cpu.insert("shares".into(), json!(host.cpu_shares));
    }
    let (period, quota) = if host.nano_cpus > 0 {
        (PERIOD, i64::try_from(i128::from(host.nano_cpus) * i128::from(PERIOD) / 1_000_000_000).unwrap_or(i64::MAX))
    } else {
        (host.cpu_period, host.cpu_quota)
    };
    if period > 0 {
        cpu.insert("period".into(), json!(period));
    }
    if quota != 0 {
        cpu.insert("quota".into(), json!(quota));
    }
    if !host.cpuset_cpus.is_empty() {
        cpu.insert("cpus".into(), json!(host.cpuset_cpus));
    }
    if !host.cpuset_mems.is_empty() {
        cpu.insert("mems".into(), json!(host.cpuset_mems));
    }
    cpu
}
