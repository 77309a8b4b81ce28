//! `config.json`.

use super::{mounts, process, resources};
use crate::{
    Engine,
    containers::{capabilities, record::Record},
};
use hako_model::{Error, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// The name of the filter in the bundle.
const FILTER: &str = "seccomp.bpf";

/// The whole spec; also puts the seccomp filter into the bundle.
///
/// # Errors
/// See its parts.
pub async fn spec(engine: &Engine, record: &Record, bundle: &Path, workload_limit: Option<u64>) -> Result<Value> {
    let host = &record.host;
    security_options(record)?;
    let mut annotations: BTreeMap<String, String> = host.annotations.clone();
    let caps = capabilities(host, &engine.host, record.isolation)?;
    let filter = engine.seccomp.filter(host, &caps, record.isolation, engine.host.kernel_version).await?;
    if let Some(filter) = filter {
        fs::copy(&filter, bundle.join(FILTER))
            .map_err(|err| Error::internal(format!("{}: {err}", filter.display())))?;
        annotations.insert("hako.seccomp.bpf".to_owned(), FILTER.to_owned());
    }
    let mut namespaces = vec!["mount", "uts", "ipc", "pid", "network"];
    if host.cgroupns_mode == "private" {
        namespaces.push("cgroup");
    }
    let parent = if host.cgroup_parent.is_empty() { &engine.config.cgroup_parent } else { &host.cgroup_parent };
    let cgroup = format!("/{}/{}", parent.trim_matches('/'), record.id);
    let mut sysctl = host.sysctls.clone();
    if !record.config.domainname.is_empty() {
        sysctl.entry("kernel.domainname".to_owned()).or_insert_with(|| record.config.domainname.clone());
    }
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process::first(engine, record)?,
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs},
        "hostname": record.config.hostname,
        "mounts": mounts::oci(host, &record.mounts, host.init == Some(true)),
        "annotations": annotations,
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces.iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>(),
            "resources": resources::oci(record, &engine.host, workload_limit),
            "maskedPaths": host.masked_paths.as_deref().unwrap_or_default(),
            "readonlyPaths": host.readonly_paths.as_deref().unwrap_or_default(),
        },
    });
    if !sysctl.is_empty() {
        spec["linux"]["sysctl"] = json!(sysctl);
    }
    Ok(spec)
}

/// Options that mean nothing here are accepted, unknown ones are not.
fn security_options(record: &Record) -> Result<()> {
    for opt in record.host.security_opt.iter().flatten() {
        let (key, value) = opt.split_once('=').or_else(|| opt.split_once(':')).unwrap_or((opt, ""));
        match (key, value) {
            ("no-new-privileges", _) | ("seccomp", _) => {}
            // There is no SELinux labelling and no AppArmor profile to be switched off.
            ("label", "disable") | ("apparmor", "unconfined" | "") | ("systempaths", "unconfined") => {}
            ("label" | "apparmor" | "systempaths", _) => {
                return Err(Error::unsupported(format!("HostConfig.SecurityOpt {opt}")));
            }
            (_, _) => return Err(Error::invalid(format!("invalid --security-opt 2: {opt:?}"))),
        }
    }
    Ok(())
}
