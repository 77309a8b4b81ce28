//! The cgroup of a VM's process on the host. Shares, CPU sets and block devices
//! compare containers with each other and name what the host has, so they are
//! set there; memory, processes and CPU time are counted in the guest, exactly.
//!
//! There is no limit of memory on it: the workload's is the guest's to keep.

use crate::GUEST_CGROUP;
use hako_model::{Error, Result, resources::Resources};
use hako_os::cgroup::{self, Cgroup, limits};
use serde_json::Value;
use std::{io, path::Path, time::Duration};

/// How often a group is asked whether its last process has left.
const ROUNDS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(2);

/// What a bundle asks of both sides of the wall.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// `linux.cgroupsPath`.
    pub path: Option<String>,
    /// For the VM's process.
    pub host: Resources,
    /// `config.json` as the guest gets it.
    pub guest: Vec<u8>,
    /// `process.oomScoreAdj`, which is for both.
    pub oom_score_adj: i64,
    /// `net.*` of `linux.sysctl`, as paths below `/proc/sys`, for the guest's own
    /// network namespace: the runtime sets none of one that it does not make.
    pub net_sysctls: Vec<(String, String)>,
}

impl Asked {
    /// Reads and divides `config.json`. A guest shares its network namespace with
    /// its container: nothing else there uses it, and another one takes an
    /// emulated guest half a second.
    pub fn of(bundle: &Path) -> Result<Self> {
        let path = bundle.join("config.json");
        let named = |err: String| Error::invalid(format!("{}: {err}", path.display()));
        let text = std::fs::read(&path).map_err(|err| named(err.to_string()))?;
        let mut spec: Value = serde_json::from_slice(&text).map_err(|err| named(err.to_string()))?;
        let asked = spec.pointer("/linux/resources").filter(|asked| asked.is_object()).cloned().unwrap_or_default();
        let limits: Resources = match &asked {
            Value::Object(_) => serde_json::from_value(asked.clone()).map_err(|err| named(err.to_string()))?,
            _ => Resources::default(),
        };
        let (host, guest) = limits.split();
        if let Value::Object(mut resources) = asked {
            let limits = serde_json::to_value(guest).map_err(|err| named(err.to_string()))?;
            for name in ["memory", "cpu", "pids", "blockIO"] {
                resources.remove(name);
                if let Some(limit) = limits.get(name) {
                    resources.insert(name.to_owned(), limit.clone());
                }
            }
            spec["linux"]["resources"] = Value::Object(resources);
        }
        if let Some(namespaces) = spec.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
            namespaces.retain(|namespace| namespace.get("type").and_then(Value::as_str) != Some("network"));
        }
        let mut net_sysctls = Vec::new();
        if let Some(sysctls) = spec.pointer_mut("/linux/sysctl").and_then(Value::as_object_mut) {
            sysctls.retain(|name, value| {
                // The API takes both forms of a name.
                let is_net = name.starts_with("net.") || name.starts_with("net/");
                if is_net {
                    net_sysctls.push((name.replace('.', "/"), value.as_str().unwrap_or_default().to_owned()));
                }
                !is_net
            });
        }
        let path = spec.pointer_mut("/linux/cgroupsPath").filter(|path| path.is_string());
        let path = path.map(|path| std::mem::replace(path, GUEST_CGROUP.into()));
        let path = path.as_ref().and_then(Value::as_str);
        Ok(Self {
            // `slice:prefix:name` is systemd's, which has no group of this kind.
            path: path.filter(|path| path.starts_with('/')).map(str::to_owned),
            host,
            oom_score_adj: spec.pointer("/process/oomScoreAdj").and_then(Value::as_i64).unwrap_or(0),
            net_sysctls,
            guest: serde_json::to_vec(&spec).map_err(|err| named(err.to_string()))?,
        })
    }
}

/// The group, while the VM lives.
#[derive(Debug, Default)]
pub(super) struct Group(Option<Cgroup>);

impl Group {
    /// Makes it with its limits.
    pub async fn make(asked: &Asked) -> Result<Self> {
        let Some(path) = &asked.path else { return Ok(Self::default()) };
        let group = Self(Some(cgroup::make(path).map_err(|err| Error::internal(err.to_string()))?));
        if let Err(err) = group.apply(&asked.host) {
            group.remove().await;
            return Err(err);
        }
        Ok(group)
    }

    /// What a process writes itself into.
    pub fn procs(&self) -> Vec<std::path::PathBuf> {
        self.0.iter().flat_map(Cgroup::procs).collect()
    }

    /// Changes its limits.
    pub fn apply(&self, limits: &Resources) -> Result<()> {
        match &self.0 {
            Some(group) => limits::apply(group, limits).map_err(|err| Error::internal(err.to_string())),
            None if limits.is_empty() => Ok(()),
            None => Err(Error::unsupported("limits of a virtual machine without a cgroup of its own")),
        }
    }

    /// Removes it, once QEMU has left. What stays is the engine's to remove.
    pub async fn remove(&self) {
        let Some(group) = &self.0 else { return };
        let mut rounds = 0;
        loop {
            match group.remove_with_parents() {
                Err(err) if err.kind() == io::ErrorKind::ResourceBusy && rounds < ROUNDS => rounds += 1,
                Err(err) => return tracing::warn!("{err}"),
                Ok(()) => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// How likely the kernel is to kill the VM's process for memory. Lowering it may
/// be refused; a container is not worth failing for that.
pub(super) fn adjust_oom_score(pid: i32, adjust: i64) {
    if adjust == 0 {
        return;
    }
    if let Err(err) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), adjust.to_string()) {
        tracing::warn!("oom_score_adj {adjust} of the virtual machine is refused: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bundle_is_divided() {
        let dir = tempfile::tempdir().unwrap();
        let spec = json!({
            "process": {"oomScoreAdj": 7},
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "network", "path": "/run/x"}],
                "cgroupsPath": "/hako/x",
                "sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/tcp_ecn": "0", "kernel.msgmax": "9"},
                "resources": {"devices": [], "memory": {"limit": 9}, "cpu": {"shares": 5, "quota": 6}, "blockIO": {"weight": 10}},
            },
        });
        std::fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        let asked = Asked::of(dir.path()).unwrap();
        assert_eq!((asked.path.as_deref(), asked.oom_score_adj, asked.host.cpu.shares), (Some("/hako/x"), 7, Some(5)));
        assert_eq!(asked.host.block_io.weight, Some(10));
        let guest: Value = serde_json::from_slice(&asked.guest).unwrap();
        let expected = json!({"devices": [], "memory": {"limit": 9}, "cpu": {"quota": 6}});
        assert_eq!(guest["linux"]["resources"], expected);
        assert_eq!(guest["linux"]["namespaces"], json!([{"type": "mount"}]));
        assert_eq!(guest["linux"]["cgroupsPath"], GUEST_CGROUP);
        assert_eq!(guest["linux"]["sysctl"], json!({"kernel.msgmax": "9"}));
        let net = [("net/ipv4/ip_forward", "1"), ("net/ipv4/tcp_ecn", "0")];
        assert_eq!(asked.net_sysctls, net.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
