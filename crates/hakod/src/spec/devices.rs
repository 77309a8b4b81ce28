//! `linux.devices` and the device cgroup's rules.

use crate::containers::settings::devices::parse_rule;
use hako_api::types::{DeviceMapping, HostConfig};
use hako_model::{
    Error, Result,
    policy::{self, DeviceRule},
};
use rustix::{
    fs::{FileType, Stat, lstat, major, minor},
    io::Errno,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Nodes and rules of a container.
///
/// # Errors
/// A device that is not there, in Docker's words.
pub fn oci(host: &HostConfig) -> Result<(Vec<Value>, Vec<DeviceRule>)> {
    let mut found = Vec::new();
    for mapping in host.devices.iter().flatten() {
        if host.privileged && mapping.path_on_host == mapping.path_in_container {
            // All of the host's are there already.
            continue;
        }
        found.extend(expand(mapping)?);
    }
    let nodes = found.iter().map(|device| device.node.clone()).collect();
    if host.privileged {
        let all = DeviceRule { allow: true, typ: None, major: None, minor: None, access: "rwm".to_owned() };
        return Ok((nodes, vec![all]));
    }
    let mut rules = policy::device_rules();
    rules.extend(found.into_iter().map(|device| device.rule));
    for rule in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(rule)?);
    }
    Ok((nodes, rules))
}

struct Device {
    node: Value,
    rule: DeviceRule,
}

/// A device, or every device below a folder.
fn expand(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let from = &mapping.path_on_host;
    let failed = |why: String| {
        Error::internal(format!("error gathering device information while adding custom device {from:?}: {why}"))
    };
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    // A link is followed once and for all.
    let real = fs::canonicalize(from).unwrap_or_else(|_| PathBuf::from(from));
    let meta = lstat(&real).map_err(|err| failed(super::errno(err)))?;
    if let Some(device) = device(&meta, &mapping.path_in_container, access) {
        return Ok(vec![device]);
    }
    let mut found = Vec::new();
    if FileType::from_raw_mode(meta.st_mode) == FileType::Directory {
        walk(&real, &mut |path, meta| {
            let below = path.strip_prefix(&real).unwrap_or(path);
            let target = Path::new(&mapping.path_in_container).join(below);
            found.extend(device(meta, &target.to_string_lossy(), access));
        });
    }
    if found.is_empty() { Err(failed("not a device node".to_owned())) } else { Ok(found) }
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path, &Stat)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = lstat(&path) else { continue };
        if FileType::from_raw_mode(meta.st_mode) == FileType::Directory {
            walk(&path, visit);
        } else {
            visit(&path, &meta);
        }
    }
}

/// `None` for what is no device.
fn device(meta: &Stat, target: &str, access: &str) -> Option<Device> {
    let kind = match FileType::from_raw_mode(meta.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return None,
    };
    let (major, minor) = (i64::from(major(meta.st_rdev)), i64::from(minor(meta.st_rdev)));
    let node = json!({
        "path": target, "type": kind, "major": major, "minor": minor,
        "fileMode": meta.st_mode & 0o7777, "uid": meta.st_uid, "gid": meta.st_gid,
    });
    let rule = DeviceRule {
        allow: true,
        typ: Some(kind.to_owned()),
        major: Some(major),
        minor: Some(minor),
        access: access.to_owned(),
    };
    Some(Device { node, rule })
}

/// The words of an error number, as Go has them.
pub fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(from: &str, to: &str) -> HostConfig {
        let mapping =
            DeviceMapping { path_on_host: from.into(), path_in_container: to.into(), cgroup_permissions: "rw".into() };
        HostConfig { devices: Some(vec![mapping]), ..HostConfig::default() }
    }

    #[test]
    fn one_device_and_none() {
        let (nodes, rules) = oci(&map("/dev/zero", "/dev/nothing")).unwrap();
        assert_eq!((&nodes[0]["path"], &nodes[0]["minor"]), (&json!("/dev/nothing"), &json!(5)));
        let last = &rules[rules.len() - 1];
        assert_eq!((last.major, last.minor, last.access.as_str()), (Some(1), Some(5), "rw"));
        let refused = |from: &str| oci(&map(from, "/dev/x")).unwrap_err().message;
        let text =
            "error gathering device information while adding custom device \"/dev/no-such\": no such file or directory";
        assert_eq!(refused("/dev/no-such"), text);
        assert!(refused("/etc/hostname").ends_with("\"/etc/hostname\": not a device node"));
    }
}
