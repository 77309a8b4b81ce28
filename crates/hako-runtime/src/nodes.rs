//! Device nodes of a container beyond the standard ones: all of this kernel's
//! for a privileged container, and those that lie outside `/dev`, where
//! libcontainer makes none.

use crate::error::{Error, Result};
use crate::rootfs::Rootfs;
use nix::libc;
use serde_json::{Map, Value, json};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// With the value `all`, the container gets every device that `/dev` has here.
pub const DEVICES: &str = "hako.devices";

/// Of a container's own making, or nobody's to share.
const SKIPPED_DIRS: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
const SKIPPED: [&str; 2] = ["console", "ptmx"];
/// In a guest: the agent's channel and the console, which are the wall's.
const WALL: [&str; 2] = ["vport", "hvc"];

/// Completes `linux.devices`, and makes the nodes that libcontainer does not.
pub fn adapt(linux: &mut Map<String, Value>, root: &Rootfs, all: bool, in_guest: bool) -> Result<()> {
    let mut devices = linux.remove("devices").and_then(|list| list.as_array().cloned()).unwrap_or_default();
    if all {
        let mut found = Vec::new();
        collect(Path::new("/dev"), in_guest, &mut found);
        let path_of = |device: &Value| device["path"].as_str().map(str::to_owned);
        found.retain(|device| !devices.iter().any(|other| path_of(other) == path_of(device)));
        devices.extend(found);
    }
    let in_dev = |device: &Value| device["path"].as_str().is_some_and(|path| Path::new(path).starts_with("/dev"));
    let (inside, outside): (Vec<Value>, Vec<Value>) = devices.into_iter().partition(in_dev);
    for device in &outside {
        make(device, root)?;
    }
    if !inside.is_empty() {
        linux.insert("devices".into(), Value::Array(inside));
    }
    Ok(())
}

/// Every device node below `dir`; links are left out, as in Docker.
fn collect(dir: &Path, in_guest: bool, found: &mut Vec<Value>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if meta.is_dir() {
            if !SKIPPED_DIRS.contains(&name.as_str()) {
                collect(&entry.path(), in_guest, found);
            }
        } else if let Some(kind) = kind(&meta)
            && !SKIPPED.contains(&name.as_str())
            && !(in_guest && WALL.iter().any(|prefix| name.starts_with(prefix)))
        {
            found.push(json!({
                "path": entry.path(), "type": kind,
                "major": libc::major(meta.rdev()), "minor": libc::minor(meta.rdev()),
                "fileMode": meta.mode() & 0o7777, "uid": meta.uid(), "gid": meta.gid(),
            }));
        }
    }
}

fn kind(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => Some("c"),
        (_, true) => Some("b"),
        (false, false) => None,
    }
}

fn make(device: &Value, root: &Rootfs) -> Result<()> {
    let bad = || Error::message(format!("invalid device {device}"));
    let path = device["path"].as_str().filter(|path| path.starts_with('/')).map(PathBuf::from).ok_or_else(bad)?;
    let number = |name: &str| device[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let (major, minor) = (number("major").ok_or_else(bad)?, number("minor").ok_or_else(bad)?);
    let block = match device["type"].as_str() {
        Some("b") => true,
        Some("c" | "u") => false,
        _ => return Err(bad()),
    };
    let mode = number("fileMode").unwrap_or(0o666);
    let owner = (number("uid").unwrap_or(0), number("gid").unwrap_or(0));
    root.make_device(&path, block, libc::makedev(major, minor), mode, owner)
}
