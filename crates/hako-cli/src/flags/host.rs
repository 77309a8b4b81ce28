//! The body of `POST /containers/create`: `HostConfig`. Only what was asked for is
//! said, the rest is the engine's to choose.

use super::container::{ContainerFlags, Files, Limits, Network, Security};
use super::mount::Mounts;
use super::parse::{device, nano_cpus, pairs, restart, size, swap, ulimit};
use crate::error::{Error, Result};
use hako_model::Isolation;
use hako_platform::LABEL_PREFIX;
use serde_json::{Map, Value, json};

/// `HostConfig`, key by key.
struct Host(Map<String, Value>);

impl Host {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
    fn opt<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }
    fn list(&mut self, key: &str, items: &[String]) {
        if !items.is_empty() {
            self.set(key, items);
        }
    }
    fn map(&mut self, key: &str, entries: Map<String, Value>) {
        if !entries.is_empty() {
            self.set(key, entries);
        }
    }
    fn flag(&mut self, key: &str, on: bool) {
        if on {
            self.set(key, true);
        }
    }
}

/// `HostConfig` for `flags`.
pub(crate) fn host_config(
    flags: &ContainerFlags,
    mounts: Mounts,
    bindings: Map<String, Value>,
    mode: Option<&str>,
) -> Result<Value> {
    let mut host = Host(Map::new());
    if let Some(isolation) = &flags.isolation {
        // `vm` is this program's word; the API carries Docker's.
        host.set("Isolation", Isolation::from_request(isolation)?.map_or("default", Isolation::as_str));
    }
    host.flag("AutoRemove", flags.rm);
    let policy = flags.restart.as_deref().unwrap_or("no");
    if flags.rm && policy != "no" {
        return Err(Error::msg("conflicting options: cannot specify both --restart and --rm"));
    }
    host.set("RestartPolicy", restart(policy)?);
    if flags.log_driver.is_some() || !flags.log_opt.is_empty() {
        host.set(
            "LogConfig",
            json!({"Type": flags.log_driver.as_deref().unwrap_or_default(), "Config": pairs(&flags.log_opt)}),
        );
    }
    host.flag("Init", flags.init);
    host.list("GroupAdd", &flags.group_add);
    let mut annotations = pairs(&flags.annotation);
    for (option, value) in flags.machine.given() {
        annotations.insert(format!("{LABEL_PREFIX}{option}"), value.into());
    }
    host.map("Annotations", annotations);
    if !flags.ulimit.is_empty() {
        let mut ulimits = flags.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        ulimits.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
        host.set("Ulimits", ulimits);
    }
    if flags.tty {
        host.opt("ConsoleSize", crate::term::size().map(|(rows, columns)| json!([rows, columns])));
    }
    set_limits(&mut host, &flags.limits)?;
    files(&mut host, &flags.files, mounts)?;
    host.opt("NetworkMode", mode);
    network(&mut host, &flags.network, bindings);
    security(&mut host, &flags.security)?;
    Ok(Value::Object(host.0))
}

/// A value that a flag does not take, in the words of Docker's flag parser.
fn invalid(text: &str, flag: &str, why: &Error) -> Error {
    Error::msg(format!("invalid argument {text:?} for \"{flag}\" flag: {why}"))
}

/// What `update` changes of `HostConfig`.
pub(crate) fn limits(limits: &Limits) -> Result<Map<String, Value>> {
    let mut host = Host(Map::new());
    set_limits(&mut host, limits)?;
    Ok(host.0)
}

fn set_limits(host: &mut Host, limits: &Limits) -> Result<()> {
    let bytes = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| size(text).map_err(|err| invalid(text, flag, &err))).transpose()
    };
    host.opt("Memory", bytes("-m, --memory", &limits.memory)?);
    host.opt("MemoryReservation", bytes("--memory-reservation", &limits.memory_reservation)?);
    let swap = |text: &String| swap(text).map_err(|err| invalid(text, "--memory-swap", &err));
    host.opt("MemorySwap", limits.memory_swap.as_ref().map(swap).transpose()?);
    host.opt("MemorySwappiness", limits.memory_swappiness);
    host.opt("NanoCpus", limits.cpus.as_deref().map(nano_cpus).transpose()?);
    host.opt("CpuShares", limits.cpu_shares);
    host.opt("CpuPeriod", limits.cpu_period);
    host.opt("CpuQuota", limits.cpu_quota);
    host.opt("CpusetCpus", limits.cpuset_cpus.as_deref());
    host.opt("CpusetMems", limits.cpuset_mems.as_deref());
    host.opt("PidsLimit", limits.pids_limit);
    host.opt("BlkioWeight", limits.blkio_weight);
    host.opt("ShmSize", bytes("--shm-size", &limits.shm_size)?);
    host.flag("OomKillDisable", limits.oom_kill_disable);
    host.opt("OomScoreAdj", limits.oom_score_adj);
    host.opt("CgroupParent", limits.cgroup_parent.as_deref());
    Ok(())
}

fn files(host: &mut Host, files: &Files, mounts: Mounts) -> Result<()> {
    host.list("Binds", &mounts.binds);
    host.map("Tmpfs", mounts.tmpfs);
    if !mounts.mounts.is_empty() {
        host.set("Mounts", mounts.mounts);
    }
    host.flag("ReadonlyRootfs", files.read_only);
    host.list("VolumesFrom", &files.volumes_from);
    host.opt("VolumeDriver", files.volume_driver.as_deref());
    host.map("StorageOpt", pairs(&files.storage_opt));
    if !files.device.is_empty() {
        host.set("Devices", files.device.iter().map(|text| device(text)).collect::<Result<Vec<_>>>()?);
    }
    Ok(())
}

fn network(host: &mut Host, network: &Network, bindings: Map<String, Value>) {
    host.list("Links", &network.link);
    host.map("PortBindings", bindings);
    host.flag("PublishAllPorts", network.publish_all);
    // Docker's newer form NAME=IP travels as the older one.
    let hosts: Vec<String> = network
        .add_host
        .iter()
        .map(|entry| entry.replacen('=', ":", usize::from(!entry.split('=').next().unwrap_or("").contains(':'))))
        .collect();
    host.list("ExtraHosts", &hosts);
    host.list("Dns", &network.dns);
    host.list("DnsSearch", &network.dns_search);
    host.list("DnsOptions", &network.dns_option);
}

fn security(host: &mut Host, security: &Security) -> Result<()> {
    host.list("CapAdd", &capabilities(&security.cap_add));
    host.list("CapDrop", &capabilities(&security.cap_drop));
    host.flag("Privileged", security.privileged);
    host.map("Sysctls", pairs(&security.sysctl));
    host.opt("CgroupnsMode", security.cgroupns.as_deref());
    host.opt("IpcMode", security.ipc.as_deref());
    host.opt("PidMode", security.pid.as_deref());
    host.opt("UTSMode", security.uts.as_deref());
    host.opt("UsernsMode", security.userns.as_deref());
    host.opt("Runtime", security.runtime.as_deref());
    let mut options = Vec::new();
    for option in &security.security_opt {
        match option.split_once(['=', ':']) {
            Some(("systempaths", "unconfined")) => {
                host.set("MaskedPaths", json!([]));
                host.set("ReadonlyPaths", json!([]));
            }
            Some(("seccomp", profile)) if profile != "unconfined" && profile != "builtin" => {
                options.push(format!("seccomp={}", seccomp(profile)?));
            }
            _ => options.push(option.clone()),
        }
    }
    host.list("SecurityOpt", &options);
    Ok(())
}

/// Capabilities by the kernel's names: `net_admin` is `CAP_NET_ADMIN`.
fn capabilities(names: &[String]) -> Vec<String> {
    let kernel_name = |name: &String| match name.to_ascii_uppercase() {
        name if name == "ALL" || name.starts_with("CAP_") => name,
        name => format!("CAP_{name}"),
    };
    names.iter().map(kernel_name).collect()
}

/// A seccomp profile travels by its content.
fn seccomp(path: &str) -> Result<String> {
    let wrong = |err: &dyn std::fmt::Display| Error::msg(format!("opening seccomp profile ({path}) failed: {err}"));
    let text = std::fs::read(path).map_err(|err| wrong(&err))?;
    serde_json::from_slice::<Value>(&text).map(|profile| profile.to_string()).map_err(|err| wrong(&err))
}
