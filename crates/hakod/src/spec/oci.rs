//! `config.json`.

use super::{apparmor, devices, files, mounts, namespaces::Namespaces, process, resources, seccomp::Target};
use crate::{
    Engine,
    containers::{
        capabilities,
        record::Record,
        settings::security::{self, Security},
    },
    guests::Guest,
};
use hako_model::{
    Error, Isolation, Result,
    policy::{self, DeviceRule},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// The name of the filter in the bundle.
const FILTER: &str = "seccomp.bpf";

/// The whole spec; also puts the seccomp filter into the bundle.
///
/// # Errors
/// See its parts.
pub async fn spec(
    engine: &Engine,
    record: &Record,
    bundle: &Path,
    guest: Option<&Guest>,
    namespaces: &Namespaces,
    plan: &mounts::Plan,
    workload_limit: Option<u64>,
) -> Result<Value> {
    let host = &record.host;
    let security = security::parse(host)?;
    let annotations = annotations(engine, record, bundle, guest, namespaces, &security).await?;
    let (nodes, rules) = devices::oci(host)?;
    let mut sysctl = host.sysctls.clone();
    if !record.config.domainname.is_empty() {
        sysctl.entry("kernel.domainname".to_owned()).or_insert_with(|| record.config.domainname.clone());
    }
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process::first(engine, record)?,
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs},
        "mounts": mounts::oci(host, &record.mounts, &plan.sources, namespaces.shm, security.writable_cgroups),
        "annotations": annotations,
        "linux": {
            "cgroupsPath": cgroup_path(engine, record),
            "namespaces": namespaces.oci,
            "rootfsPropagation": plan.propagation,
            "resources": limits(record, rules, workload_limit)?,
            "maskedPaths": host.masked_paths.as_deref().unwrap_or_default(),
            "readonlyPaths": host.readonly_paths.as_deref().unwrap_or_default(),
        },
    });
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        match &namespaces.files {
            Some(others) => files_from(mounts, others),
            None if record.isolation == Isolation::Process => files_from(mounts, &files::place(engine, record)),
            // The bundle's own, which goes to the guest.
            None => {}
        }
        mounts.extend(super::step::oci(&record.step));
    }
    if host.uts_mode != "host" {
        spec["hostname"] = json!(record.config.hostname);
    }
    if !nodes.is_empty() {
        spec["linux"]["devices"] = json!(nodes);
    }
    if let Some(profile) = apparmor::profile(engine, record, &security).await? {
        spec["process"]["apparmorProfile"] = json!(profile);
    }
    if !sysctl.is_empty() {
        spec["linux"]["sysctl"] = json!(sysctl);
    }
    Ok(spec)
}

/// The files that a container has from the engine are in `place`. Who has
/// another's network has also its files about it.
fn files_from(mounts: &mut [Value], place: &Path) {
    for mount in mounts {
        let name = ["hosts", "hostname", "resolv.conf"].into_iter().find(|name| mount["source"] == *name);
        if let Some(name) = name {
            mount["source"] = json!(place.join(name));
        }
    }
}

/// Where a container's cgroup lies, behind both walls.
pub fn cgroup_path(engine: &Engine, record: &Record) -> String {
    let asked = &record.host.cgroup_parent;
    let parent = if asked.is_empty() { &engine.config.cgroup_parent } else { asked };
    format!("/{}/{}", parent.trim_matches('/'), record.id)
}

fn limits(record: &Record, rules: Vec<DeviceRule>, workload_limit: Option<u64>) -> Result<Value> {
    let limits = resources::of(record, workload_limit)?;
    let mut limits = serde_json::to_value(limits).map_err(|err| Error::internal(err.to_string()))?;
    limits["devices"] = json!(rules);
    Ok(limits)
}

/// What the user asked for, and what the runtime is told beyond OCI.
async fn annotations(
    engine: &Engine,
    record: &Record,
    bundle: &Path,
    guest: Option<&Guest>,
    namespaces: &Namespaces,
    security: &Security<'_>,
) -> Result<BTreeMap<String, String>> {
    let host = &record.host;
    let mut annotations: BTreeMap<String, String> = host.annotations.clone();
    let caps = capabilities(host, &engine.host, record.isolation)?;
    let target = match guest {
        Some(guest) => Target { kernel: guest.kernel_version(), architecture: guest.board.architecture() },
        None => Target { kernel: engine.host.kernel_version, architecture: policy::native_arch() },
    };
    let filter = engine.seccomp.filter(security.seccomp, host.privileged, &caps, target).await?;
    if let Some(filter) = filter {
        fs::copy(&filter, bundle.join(FILTER))
            .map_err(|err| Error::internal(format!("{}: {err}", filter.display())))?;
        annotations.insert("hako.seccomp.bpf".to_owned(), FILTER.to_owned());
    }
    let names: Vec<&str> = process::group_names(host).collect();
    let own = [
        ("hako.group-add", names.join(",")),
        ("hako.join", namespaces.join.clone()),
        ("hako.devices", if host.privileged { "all".to_owned() } else { String::new() }),
    ];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    annotations.extend(own.map(|(key, value)| (key.to_owned(), value)));
    Ok(annotations)
}
