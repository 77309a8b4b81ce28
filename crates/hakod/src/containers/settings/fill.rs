//! What inspect shows for fields that were left out.

use crate::host::HostInfo;
use hako_api::types::HostConfig;
use hako_model::{Isolation, policy};

/// Docker's size of `/dev/shm`.
const SHM_SIZE: i64 = 64 << 20;

/// Fills them in.
pub fn fill(host: &mut HostConfig, isolation: Isolation, info: &HostInfo) {
    let default = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    isolation.as_str().clone_into(&mut host.isolation);
    if host.network_mode == "default" {
        host.network_mode.clear();
    }
    default(&mut host.network_mode, "bridge");
    default(&mut host.ipc_mode, "private");
    default(&mut host.runtime, "hako-runtime");
    default(&mut host.restart_policy.name, "no");
    default(&mut host.log_config.r#type, "json-file");
    // A guest is on cgroup2, where also a privileged container has its own.
    let own_cgroupns = info.cgroup_version == 2 || isolation == Isolation::Hyperv;
    default(&mut host.cgroupns_mode, if own_cgroupns { "private" } else { "host" });
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    if info.sys.of(isolation).oom_kill_disable {
        host.oom_kill_disable.get_or_insert(false);
    }
    label(host);
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        host.masked_paths.get_or_insert_with(policy::masked_paths);
        host.readonly_paths.get_or_insert_with(policy::readonly_paths);
    }
}

/// As dockerd shows it: what shares the host's namespaces is not labelled.
fn label(host: &mut HostConfig) {
    let said = host.security_opt.iter().flatten().any(|opt| opt.starts_with("label"));
    if !said && (host.privileged || host.pid_mode == "host" || host.ipc_mode == "host") {
        host.security_opt.get_or_insert_default().push("label=disable".to_owned());
    }
}
