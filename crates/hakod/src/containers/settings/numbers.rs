//! Fields whose values have bounds and forms.

use crate::containers::vm;
use hako_api::types::HostConfig;
use hako_model::{Error, Isolation, Result};

/// Docker's words for what is out of them.
pub fn check(host: &HostConfig, isolation: Isolation) -> Result<()> {
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("invalid cgroup parent: {}", host.cgroup_parent)));
    }
    if host.annotations.contains_key("") {
        let text = "invalid Annotations: the empty string is not permitted as an annotation key";
        return Err(Error::invalid(text));
    }
    vm::check_annotations(host)?;
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    for entry in host.extra_hosts.iter().flatten() {
        if entry.rsplit_once(['=']).or_else(|| entry.split_once(':')).is_none() {
            return Err(Error::invalid(format!("bad format for add-host: \"{entry}\"")));
        }
    }
    // A comma is what separates them on their way to the runtime, and is in no group's name.
    if let Some(group) = host.group_add.iter().flatten().find(|group| group.is_empty() || group.contains([',', '\0'])) {
        return Err(Error::invalid(format!("unable to find group {group}: no such name can be")));
    }
    ulimits(host)?;
    sysctls(host)?;
    storage_size(host, isolation).map(drop)
}

fn ulimits(host: &HostConfig) -> Result<()> {
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
    Ok(())
}

/// runc's rules: only what has a namespace, and only in one of the container's own.
fn sysctls(host: &HostConfig) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for key in host.sysctls.keys() {
        let shares_ipc = host.ipc_mode == "host" || host.ipc_mode.starts_with("container:");
        let dotted = key.replace('/', ".");
        let bad = |why: &str| Err(Error::invalid(format!("sysctl \"{key}\" {why}")));
        match dotted.as_str() {
            name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => {
                if shares_ipc {
                    return bad("is not allowed in the hosts ipc namespace");
                }
            }
            name if name.starts_with("net.") => {
                if host.network_mode == "host" {
                    return bad("is not allowed in the hosts network namespace");
                }
            }
            "kernel.domainname" if host.uts_mode != "host" => {}
            "kernel.hostname" if host.uts_mode != "host" => {
                return bad("is not allowed as it conflicts with the OCI \"hostname\" field");
            }
            _ => return bad("is not in a separate kernel namespace"),
        }
    }
    Ok(())
}

/// The smallest disk on which a filesystem fits.
const LEAST_DISK: u64 = 16 << 20;

/// `--storage-opt size=`, behind the wall where a container has a disk of its own.
///
/// # Errors
/// A size that is none.
pub fn storage_size(host: &HostConfig, isolation: Isolation) -> Result<Option<u64>> {
    let found = host.storage_opt.iter().find(|(key, _)| key.eq_ignore_ascii_case("size"));
    let Some((_, text)) = found.filter(|_| isolation == Isolation::Hyperv) else { return Ok(None) };
    let size = bytes(text).ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?;
    if size < LEAST_DISK {
        return Err(Error::invalid(format!("storage option size={text}: the least is {} bytes", LEAST_DISK)));
    }
    Ok(Some(size))
}

/// `10G`, `512m`, `1.5gb`, `100`: as Go's units.RAMInBytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    let (number, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        'p' => (&text[..text.len() - 1], 50),
        _ => (text, 0),
    };
    let number: f64 = number.trim().parse().ok()?;
    let size = number * (1_u64 << shift) as f64;
    // 2^60: far above any disk, and exact enough below.
    (size.is_finite() && (0.0..1.0e18).contains(&size)).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("10G"), Some(10 << 30));
        assert_eq!(bytes("1.5gb"), Some(3 << 29));
        assert_eq!(bytes("512MiB"), Some(512 << 20));
        assert_eq!(bytes("100"), Some(100));
        for bad in ["", "g", "-1", "1e400", "nan", "7x"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn sysctls_need_a_namespace() {
        let check = |key: &str, ipc: &str| {
            let mut host = HostConfig { ipc_mode: ipc.into(), ..HostConfig::default() };
            host.sysctls.insert(key.into(), "1".into());
            sysctls(&host).map_err(|err| err.message)
        };
        assert!(check("kernel.shmmax", "private").is_ok());
        assert!(check("net/ipv4/ip_forward", "host").is_ok());
        let text = "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace";
        assert_eq!(check("kernel.shmmax", "host").unwrap_err(), text);
        assert!(check("vm.swappiness", "").unwrap_err().ends_with("is not in a separate kernel namespace"));
        assert!(check("kernel.hostname", "").unwrap_err().contains("conflicts with the OCI"));
    }
}
