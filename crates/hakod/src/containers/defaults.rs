//! What a request may ask for, in Docker's words, and what it gets where it
//! says nothing.

use super::policy as restart_policy;
use crate::host::{CAPABILITIES, HostInfo};
use hako_api::{
    signal,
    types::{ContainerConfig, HostConfig, host_config::UNSUPPORTED_FIELDS},
};
use hako_model::{Error, Isolation, Result, policy};
use serde_json::Value;

const LEAST_MEMORY: i64 = 6 << 20;
/// Docker's size of `/dev/shm`.
pub const SHM_SIZE: i64 = 64 << 20;

/// Says what is wrong or not built; answers warnings.
///
/// # Errors
/// `InvalidParameter` in Docker's words, or `Unsupported` naming the field.
pub fn validate(
    config: &ContainerConfig,
    host: &HostConfig,
    isolation: Isolation,
    info: &HostInfo,
) -> Result<Vec<String>> {
    check_config(config)?;
    check_health(config)?;
    restart_policy::validate(&host.restart_policy, host.auto_remove)?;
    check_memory(host)?;
    check_cpu(host, info)?;
    check_numbers(host)?;
    capabilities(host, info, isolation)?;
    unsupported(config, host, isolation)?;
    let mut warnings = Vec::new();
    if host.network_mode != "none" && !config.network_disabled {
        warnings.push("Networks are not built yet: the container has a loopback interface only.".to_owned());
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
    }
    Ok(warnings)
}

fn check_config(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(bad) = config.env.iter().flatten().find(|e| e.is_empty() || e.starts_with('=') || e.contains('\0')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    if config.hostname.len() > 64 || config.hostname.contains(['/', '\0', '\n']) {
        return Err(Error::invalid(format!("invalid hostname format: {}", config.hostname)));
    }
    if config.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()) {
        return Err(Error::unsupported("anonymous volumes (Volumes)"));
    }
    Ok(())
}

/// The shortest time that a health check may name.
const LEAST_NANOS: i64 = 1_000_000;

fn check_health(config: &ContainerConfig) -> Result<()> {
    let Some(health) = &config.healthcheck else { return Ok(()) };
    let too_short = |(name, nanos): (&str, i64)| {
        (nanos != 0 && nanos < LEAST_NANOS)
            .then(|| Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")))
    };
    let first = [("Interval", health.interval), ("Timeout", health.timeout)];
    let last = [("StartPeriod", health.start_period), ("StartInterval", health.start_interval)];
    let negative = (health.retries < 0).then(|| Error::invalid("Retries in Healthcheck cannot be negative"));
    let wrong = first.into_iter().find_map(too_short).or(negative).or_else(|| last.into_iter().find_map(too_short));
    wrong.map_or(Ok(()), Err)
}

fn check_memory(host: &HostConfig) -> Result<()> {
    let bad = |text: &str| Err(Error::invalid(text));
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return bad("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return bad("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return bad("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = host.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return bad(&format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if host.memory_reservation != 0 && host.memory_reservation < LEAST_MEMORY {
        return bad("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return bad("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn check_cpu(host: &HostConfig, info: &HostInfo) -> Result<()> {
    let bad = |text: String| Err(Error::invalid(text));
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return bad("Conflicting options: Nano CPUs and CPU Period cannot both be set".into());
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set".into());
    }
    if host.nano_cpus < 0 || host.nano_cpus > info.cpus.saturating_mul(1_000_000_000) {
        return bad(format!(
            "range of CPUs is from 0.01 to {}.00, as there are only {} CPUs available",
            info.cpus, info.cpus
        ));
    }
    if host.cpu_shares < 0 {
        return bad(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into());
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    Ok(())
}

fn check_numbers(host: &HostConfig) -> Result<()> {
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("invalid cgroup parent: {}", host.cgroup_parent)));
    }
    if let Some(key) = host.annotations.keys().find(|key| key.starts_with("hako.")) {
        return Err(Error::invalid(format!("invalid annotation {key}: hako.* is the engine's own")));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    for limit in host.ulimits.iter().flatten() {
        if !hako_model::ULIMITS.contains(&limit.name.as_str()) {
            return Err(Error::invalid(format!("invalid ulimit type: {}", limit.name)));
        }
        if limit.hard >= 0 && (limit.soft > limit.hard || limit.soft == -1) {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            )));
        }
    }
    for group in host.group_add.iter().flatten() {
        if group.parse::<u32>().is_err() {
            return Err(Error::unsupported(format!("GroupAdd by name ({group}): use a number")));
        }
    }
    for entry in host.extra_hosts.iter().flatten() {
        if entry.rsplit_once(['=']).or_else(|| entry.split_once(':')).is_none() {
            return Err(Error::invalid(format!("bad format for add-host: \"{entry}\"")));
        }
    }
    for key in host.sysctls.keys() {
        let namespaced = key.starts_with("net.")
            || key.starts_with("fs.mqueue.")
            || key.starts_with("kernel.shm")
            || ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.domainname"]
                .contains(&key.as_str());
        if !namespaced {
            return Err(Error::invalid(format!("sysctl \"{key}\" is not in a separate kernel namespace")));
        }
    }
    Ok(())
}

/// The capabilities of a container by Docker's rules.
///
/// # Errors
/// `invalid CapAdd: unknown capability: "CAP_X"`.
pub fn capabilities(host: &HostConfig, info: &HostInfo, isolation: Isolation) -> Result<Vec<String>> {
    let (add, add_all) = normalise("CapAdd", host.cap_add.as_deref().unwrap_or_default())?;
    let (drop, drop_all) = normalise("CapDrop", host.cap_drop.as_deref().unwrap_or_default())?;
    // All that this process may hand out; a guest has them all.
    let all = || match isolation {
        Isolation::Process => info.bounding.clone(),
        Isolation::Hyperv => CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
    };
    if host.privileged {
        return Ok(all());
    }
    let mut base = if add_all {
        all()
    } else if drop_all {
        Vec::new()
    } else {
        policy::default_capabilities()
    };
    if !drop_all {
        base.retain(|cap| !drop.contains(cap));
    }
    if !add_all {
        let new: Vec<String> = add.into_iter().filter(|cap| !base.contains(cap)).collect();
        base.extend(new);
    }
    Ok(base)
}

fn normalise(field: &str, names: &[String]) -> Result<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let mut all = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full == "CAP_ALL" {
            all = true;
        } else if CAPABILITIES.contains(&full.as_str()) {
            found.push(full);
        } else {
            return Err(Error::invalid(format!("invalid {field}: unknown capability: \"{full}\"")));
        }
    }
    Ok((found, all))
}

fn unsupported(config: &ContainerConfig, host: &HostConfig, isolation: Isolation) -> Result<()> {
    let value = serde_json::to_value(host).map_err(|err| Error::internal(err.to_string()))?;
    for (field, what) in UNSUPPORTED_FIELDS {
        if value.get(field).is_some_and(is_set) {
            return Err(Error::unsupported(format!("HostConfig.{field}: {what}")));
        }
    }
    let refuse = |field: &str, what: &str| Err(Error::unsupported(format!("HostConfig.{field}: {what}")));
    if !matches!(host.network_mode.as_str(), "" | "default" | "bridge" | "none") {
        return refuse("NetworkMode", &format!("network {}", host.network_mode));
    }
    if !matches!(host.pid_mode.as_str(), "" | "private") {
        return refuse("PidMode", &host.pid_mode);
    }
    if !matches!(host.ipc_mode.as_str(), "" | "private" | "none" | "shareable") {
        return refuse("IpcMode", &host.ipc_mode);
    }
    if !host.uts_mode.is_empty() {
        return refuse("UTSMode", &host.uts_mode);
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return refuse("UsernsMode", &host.userns_mode);
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    if !matches!(host.runtime.as_str(), "" | "hako-runtime" | "runc") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    if !matches!(host.log_config.r#type.as_str(), "" | "json-file" | "none") {
        return Err(Error::invalid(format!("logger: no log driver named '{}' is registered", host.log_config.r#type)));
    }
    if !config.mac_address.is_empty() {
        return Err(Error::unsupported("MacAddress: networks are not built yet"));
    }
    for_hyperv(host, isolation)
}

/// What means nothing for a VM is refused and not ignored.
fn for_hyperv(host: &HostConfig, isolation: Isolation) -> Result<()> {
    if isolation != Isolation::Hyperv {
        return Ok(());
    }
    let refuse = |field: &str| Err(Error::unsupported(format!("HostConfig.{field} behind the hyperv wall")));
    match () {
        () if !host.cpuset_cpus.is_empty() => refuse("CpusetCpus"),
        () if !host.cpuset_mems.is_empty() => refuse("CpusetMems"),
        () if host.oom_score_adj != 0 => refuse("OomScoreAdj"),
        () if host.binds.as_ref().is_some_and(|binds| !binds.is_empty()) => refuse("Binds"),
        () if host.mounts.iter().flatten().any(|mount| mount.r#type == "bind") => refuse("Mounts of type bind"),
        () => Ok(()),
    }
}

/// Whether a JSON value differs from Go's zero value.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// `NetworkingConfig`: endpoints of networks that are there. Clients send one
/// for the default network, with nothing in it.
///
/// # Errors
/// Docker's words for a network that does not exist.
pub fn check_networking(networking: &Value, mode: &str) -> Result<()> {
    let Some(endpoints) = networking.get("EndpointsConfig").and_then(Value::as_object) else { return Ok(()) };
    for (name, endpoint) in endpoints {
        let known = matches!(name.as_str(), "default" | "bridge" | "none" | "host") || name == mode;
        if !known {
            return Err(Error::not_found(format!("network {name} not found")));
        }
        let asks = |field: &str| endpoint.get(field).is_some_and(is_set);
        if let Some(field) = ["IPAMConfig", "Links", "Aliases", "MacAddress"].into_iter().find(|f| asks(f)) {
            return Err(Error::unsupported(format!("NetworkingConfig {field}: networks are not built yet")));
        }
    }
    Ok(())
}

/// Fills in what inspect shows for fields that were left out.
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
    let own_cgroupns = info.cgroup_version == 2 || isolation == Isolation::Hyperv;
    default(&mut host.cgroupns_mode, if own_cgroupns && !host.privileged { "private" } else { "host" });
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        host.masked_paths.get_or_insert_with(policy::masked_paths);
        host.readonly_paths.get_or_insert_with(policy::readonly_paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> HostInfo {
        HostInfo { cpus: 2, bounding: vec!["CAP_CHOWN".into(), "CAP_SYS_ADMIN".into()], ..HostInfo::read() }
    }

    #[test]
    fn capability_rules() {
        let caps = |add: &[&str], drop: &[&str]| {
            let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
            let host = HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() };
            capabilities(&host, &info(), Isolation::Process)
        };
        assert_eq!(caps(&[], &["ALL"]).unwrap(), Vec::<String>::new());
        assert_eq!(caps(&["net_admin"], &["all"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert_eq!(caps(&["ALL"], &["CAP_CHOWN"]).unwrap(), ["CAP_SYS_ADMIN"]);
        assert!(!caps(&[], &["CHOWN"]).unwrap().contains(&"CAP_CHOWN".to_owned()));
        assert_eq!(caps(&["XX"], &[]).unwrap_err().message, "invalid CapAdd: unknown capability: \"CAP_XX\"");
    }

    #[test]
    fn refusals_name_the_field() {
        let refuse = |host: HostConfig, wall| validate(&ContainerConfig::default(), &host, wall, &info()).unwrap_err();
        let err = refuse(HostConfig { publish_all_ports: true, ..HostConfig::default() }, Isolation::Process);
        assert!(err.message.starts_with("not supported: HostConfig.PublishAllPorts"), "{err}");
        let err = refuse(HostConfig { binds: Some(vec!["/a:/b".into()]), ..HostConfig::default() }, Isolation::Hyperv);
        assert_eq!(err.message, "not supported: HostConfig.Binds behind the hyperv wall");
        let err = refuse(HostConfig { memory: 1 << 20, ..HostConfig::default() }, Isolation::Process);
        assert_eq!(err.message, "Minimum memory limit allowed is 6MB");
    }
}
