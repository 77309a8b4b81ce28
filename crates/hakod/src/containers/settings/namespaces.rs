//! `--pid`, `--ipc`, `--uts`, `--userns`, `--cgroupns`: which namespaces of
//! others a container shares.

use crate::Engine;
use hako_api::{
    types::{ContainerConfig, HostConfig},
    unsupported,
};
use hako_model::{Error, Isolation, Result};

/// The other container of `container:X`.
#[must_use]
pub fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:").filter(|name| !name.is_empty())
}

/// Docker's words for modes that do not exist, or not together.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    if host.uts_mode == "host" && !config.domainname.is_empty() {
        return Err(Error::invalid("conflicting options: domainname and the UTS mode"));
    }
    let words = |mode: &str, valid: &[&str]| mode.is_empty() || valid.contains(&mode);
    let checks = [
        ("IPC mode", &host.ipc_mode, words(&host.ipc_mode, &["none", "private", "shareable", "host"]), true),
        ("PID mode", &host.pid_mode, words(&host.pid_mode, &["host"]), true),
        ("UTS mode", &host.uts_mode, words(&host.uts_mode, &["host"]), false),
        ("userns mode", &host.userns_mode, words(&host.userns_mode, &["host"]), false),
        ("cgroup namespace mode", &host.cgroupns_mode, words(&host.cgroupns_mode, &["private", "host"]), false),
    ];
    for (what, mode, valid, may_join) in checks {
        let joins = may_join && joined(mode).is_some();
        if !valid && !joins {
            return Err(Error::invalid(format!("invalid {what}: {mode}")));
        }
    }
    Ok(())
}

/// Names of containers to join become ids, so that a rename changes nothing.
///
/// # Errors
/// There is none of that name (a 400, since a 404 of create means the image),
/// or it is behind the other wall.
pub fn resolve(engine: &Engine, host: &mut HostConfig, isolation: Isolation) -> Result<()> {
    let find = |mode: &str| match joined(mode) {
        Some(name) => engine.containers.find(name).map(Some).map_err(|err| Error::invalid(err.message)),
        None => Ok(None),
    };
    let (pid, ipc, network) = (find(&host.pid_mode)?, find(&host.ipc_mode)?, find(&host.network_mode)?);
    if pid.iter().chain(&ipc).chain(&network).any(|other| other.view().record.isolation != isolation) {
        unsupported::join_hyperv(host)?;
    }
    let modes = [(&mut host.pid_mode, pid), (&mut host.ipc_mode, ipc), (&mut host.network_mode, network)];
    for (mode, other) in modes {
        if let Some(other) = other {
            *mode = format!("container:{}", other.id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        let refused = |host: HostConfig| check(&ContainerConfig::default(), &host).unwrap_err().message;
        let host = HostConfig { pid_mode: "container:".into(), ..HostConfig::default() };
        assert_eq!(refused(host), "invalid PID mode: container:");
        let host = HostConfig { ipc_mode: "public".into(), ..HostConfig::default() };
        assert_eq!(refused(host), "invalid IPC mode: public");
        let host = HostConfig { uts_mode: "container:x".into(), ..HostConfig::default() };
        assert_eq!(refused(host), "invalid UTS mode: container:x");
        let host = HostConfig { uts_mode: "host".into(), ..HostConfig::default() };
        let named = ContainerConfig { hostname: "x".into(), ..ContainerConfig::default() };
        assert_eq!(check(&named, &host).unwrap_err().message, "conflicting options: hostname and the UTS mode");
        let host = HostConfig { pid_mode: "container:x".into(), ipc_mode: "shareable".into(), ..HostConfig::default() };
        assert!(check(&ContainerConfig::default(), &host).is_ok());
    }
}
