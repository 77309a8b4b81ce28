//! Mounts: what `-v`, `--mount` and `--tmpfs` ask for.

use super::{process::has_init, shares};
use hako_api::types::{HostConfig, MountPoint};
use hako_model::{Error, Isolation, Result, policy};
use serde_json::{Value, json};
use std::{collections::HashSet, path::Path};

const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Host folders as inspect shows them, checked and with missing sources of
/// `-v` made, as Docker does.
///
/// # Errors
/// Docker's words for what is wrong; `Unsupported` for volumes.
pub fn points(host: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut points = Vec::new();
    for bind in host.binds.iter().flatten() {
        points.push(parse_bind(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        let invalid =
            |text: String| Error::invalid(format!("invalid mount config for type \"{}\": {text}", mount.r#type));
        absolute(&mount.target).map_err(invalid)?;
        match mount.r#type.as_str() {
            "tmpfs" if !mount.source.is_empty() => return Err(invalid("field Source must not be specified".into())),
            "tmpfs" => points.push(MountPoint {
                r#type: "tmpfs".to_owned(),
                destination: mount.target.clone(),
                rw: !mount.read_only,
                ..MountPoint::default()
            }),
            "bind" => points.push(bind_point(mount).map_err(invalid)?),
            // Docker's other types are refused before.
            _ => return Err(invalid("mount type unknown".to_owned())),
        }
    }
    for target in host.tmpfs.keys() {
        absolute(target).map_err(|err| Error::invalid(format!("invalid tmpfs: {err}")))?;
    }
    let tmpfs = host.tmpfs.keys().map(String::as_str);
    let mut seen = HashSet::new();
    for target in points.iter().map(|p| p.destination.as_str()).chain(tmpfs) {
        if !seen.insert(target.trim_end_matches('/').to_owned()) {
            return Err(Error::invalid(format!("Duplicate mount point: {target}")));
        }
    }
    Ok(points)
}

fn absolute(target: &str) -> std::result::Result<(), String> {
    match target {
        "" => Err("field Target must not be empty".to_owned()),
        "/" => Err("invalid specification: destination can't be '/'".to_owned()),
        t if !t.starts_with('/') => Err(format!("invalid mount path: '{t}' mount path must be absolute")),
        _ => Ok(()),
    }
}

/// `source:target[:options]`.
fn parse_bind(bind: &str) -> Result<MountPoint> {
    let invalid = |why: String| Error::invalid(format!("invalid volume specification: '{bind}': {why}"));
    let parts: Vec<&str> = bind.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(Error::invalid(format!("invalid volume specification: '{bind}'"))),
    };
    if source.is_empty() {
        return Err(Error::invalid(format!("invalid volume specification: '{bind}'")));
    }
    absolute(target).map_err(invalid)?;
    if !source.starts_with('/') {
        // Names of volumes are refused before.
        return Err(invalid(format!("invalid mount path: '{source}' mount path must be absolute")));
    }
    let (mut rw, mut propagation) = (true, "rprivate");
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => rw = false,
            // Nothing to relabel and nothing cached: both are true already.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "bind" | "rbind" => {}
            other if PROPAGATIONS.contains(&other) => propagation = other,
            other => return Err(invalid(format!("invalid mode: {other}"))),
        }
    }
    if !Path::new(source).exists() {
        std::fs::create_dir_all(source)
            .map_err(|err| Error::internal(format!("error while creating mount source path '{source}': {err}")))?;
    }
    Ok(MountPoint {
        r#type: "bind".to_owned(),
        source: source.to_owned(),
        destination: target.to_owned(),
        mode: options.to_owned(),
        rw,
        propagation: propagation.to_owned(),
        ..MountPoint::default()
    })
}

fn bind_point(mount: &hako_api::types::Mount) -> std::result::Result<MountPoint, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = if options.propagation.is_empty() { "rprivate" } else { &options.propagation };
    if !PROPAGATIONS.contains(&propagation) {
        return Err(format!("invalid propagation mode: {propagation}"));
    }
    if !Path::new(&mount.source).exists() {
        if !options.create_mountpoint {
            return Err(format!("bind source path does not exist: {}", mount.source));
        }
        std::fs::create_dir_all(&mount.source).map_err(|err| err.to_string())?;
    }
    Ok(MountPoint {
        r#type: "bind".to_owned(),
        source: mount.source.clone(),
        destination: mount.target.clone(),
        rw: !mount.read_only,
        propagation: propagation.to_owned(),
        ..MountPoint::default()
    })
}

/// `mounts` of the OCI spec: the defaults, the engine's files, then what was
/// asked for, outer folders first. `shm` is what `/dev/shm` is a bind mount of,
/// where it is not the container's own.
pub fn oci(
    wall: Isolation,
    host: &HostConfig,
    points: &[MountPoint],
    shm: Option<&str>,
    writable_cgroups: bool,
) -> Vec<Value> {
    let mut mounts: Vec<Value> = Vec::new();
    let asked = |target: &str| points.iter().any(|p| p.destination == target) || host.tmpfs.contains_key(target);
    for mut mount in policy::default_mounts() {
        if mount.destination == "/dev/shm" {
            if host.ipc_mode == "none" || asked("/dev/shm") {
                continue;
            }
            if let Some(source) = shm {
                let options = ["rbind", "rprivate", "rw"];
                mounts.push(json!({"destination": "/dev/shm", "type": "bind", "source": source, "options": options}));
                continue;
            }
            mount.options.retain(|option| !option.starts_with("size="));
            mount.options.push(format!("size={}", host.shm_size));
        }
        let cgroups = mount.destination == "/sys/fs/cgroup";
        if (host.privileged && (cgroups || mount.destination == "/sys")) || (writable_cgroups && cgroups) {
            mount.options.retain(|option| option != "ro");
            mount.options.push("rw".to_owned());
        }
        mounts.push(json!(mount));
    }
    // Given by the caller: paths in the bundle are relative.
    let file = |source: &str, target: &str, ro: bool| {
        let access = if ro { "ro" } else { "rw" };
        json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", access]})
    };
    let taken = |target: &str| points.iter().any(|point| point.destination == target);
    for (source, target) in
        [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
    {
        if !taken(target) {
            mounts.push(file(source, target, false));
        }
    }
    if has_init(host) {
        mounts.push(file("init", INIT, true));
    }
    let mut asked: Vec<(String, Value)> = Vec::new();
    for (target, options) in &host.tmpfs {
        asked.push((target.clone(), tmpfs(target, options.split(',').filter(|o| !o.is_empty()).map(str::to_owned))));
    }
    for mount in host.mounts.iter().flatten().filter(|mount| mount.r#type == "tmpfs") {
        let options = mount.tmpfs_options.clone().unwrap_or_default();
        let mut words = Vec::new();
        if mount.read_only {
            words.push("ro".to_owned());
        }
        if options.mode != 0 {
            words.push(format!("mode={:o}", options.mode));
        }
        if options.size_bytes != 0 {
            words.push(format!("size={}", options.size_bytes));
        }
        asked.push((mount.target.clone(), tmpfs(&mount.target, words.into_iter())));
    }
    for (n, point) in points.iter().filter(shares::is_shared).enumerate() {
        let source = shares::source(wall, n, point);
        let options = ["rbind", if point.rw { "rw" } else { "ro" }, &point.propagation];
        let mount = json!({"destination": point.destination, "type": "bind", "source": source, "options": options});
        asked.push((point.destination.clone(), mount));
    }
    asked.sort_by_key(|(target, _)| target.split('/').filter(|part| !part.is_empty()).count());
    mounts.extend(asked.into_iter().map(|(_, mount)| mount));
    mounts
}

/// Where Docker puts its init.
pub const INIT: &str = "/sbin/docker-init";

fn tmpfs(target: &str, asked: impl Iterator<Item = String>) -> Value {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
    for option in asked {
        // `exec` takes back `noexec`, and so on.
        options.retain(|old| *old != format!("no{option}") && option != format!("no{old}"));
        if !options.contains(&option) {
            options.push(option);
        }
    }
    json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        let point = parse_bind("/etc:/x:ro,rslave").unwrap();
        assert_eq!((point.rw, point.propagation.as_str(), point.mode.as_str()), (false, "rslave", "ro,rslave"));
        assert!(parse_bind("name:/x").unwrap_err().message.contains("must be absolute"));
        assert!(parse_bind("/etc:x").unwrap_err().message.contains("must be absolute"));
        assert!(parse_bind("/etc:/x:bogus").unwrap_err().message.contains("invalid mode: bogus"));
    }

    #[test]
    fn missing_source() {
        let mount = hako_api::types::Mount {
            r#type: "bind".into(),
            source: "/x-none".into(),
            target: "/y".into(),
            ..Default::default()
        };
        let host = HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() };
        let err = points(&host).unwrap_err().message;
        assert_eq!(err, "invalid mount config for type \"bind\": bind source path does not exist: /x-none");
    }

    #[test]
    fn order_and_options() {
        let mut host = HostConfig { shm_size: 7, ..HostConfig::default() };
        host.tmpfs.insert("/a/b".into(), "exec,size=1m".into());
        host.tmpfs.insert("/a".into(), String::new());
        let mounts = oci(Isolation::Process, &host, &[], None, false);
        let last = &mounts[mounts.len() - 1];
        assert_eq!(last["destination"], "/a/b");
        assert_eq!(last["options"], json!(["nosuid", "nodev", "exec", "size=1m"]));
        assert!(mounts.iter().any(|m| m["options"].as_array().is_some_and(|o| o.contains(&json!("size=7")))));
    }
}
