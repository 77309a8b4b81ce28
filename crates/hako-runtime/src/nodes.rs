//! Device nodes of a container: the standard ones, those that it asks for, and
//! all of this kernel's for a privileged container.

use crate::error::{Error, Result};
use crate::rootfs::{Node, Rootfs, plain};
use nix::libc;
use serde_json::{Map, Value};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// With the value `all`, the container gets every device that `/dev` has here.
pub const DEVICES: &str = "hako.devices";

/// Of a container's own making, or nobody's to share.
const SKIPPED_DIRS: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
const SKIPPED: [&str; 2] = ["console", "ptmx"];
/// In a guest: the agent's channel and the console, which are the wall's.
const WALL: [&str; 2] = ["vport", "hvc"];

/// What every container has: name and minor number of major 1, and one of major 5.
const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The nodes in `/dev`. Those that lie elsewhere are made in `root`.
pub fn of(linux: &Map<String, Value>, root: &Rootfs, all: bool, in_guest: impl FnOnce() -> bool) -> Result<Vec<Node>> {
    let given = linux.get("devices").and_then(Value::as_array).into_iter().flatten();
    let mut nodes = given.map(parse).collect::<Result<Vec<Node>>>()?;
    let mut add = |node: Node| {
        if !nodes.iter().any(|other| other.path == node.path) {
            nodes.push(node);
        }
    };
    for (name, major, minor) in STANDARD {
        let path = Path::new("/dev").join(name);
        add(Node { path, block: false, device: libc::makedev(major, minor), mode: 0o666, owner: (0, 0) });
    }
    if all {
        let mut found = Vec::new();
        collect(Path::new("/dev"), in_guest(), &mut found);
        found.into_iter().for_each(add);
    }
    let (inside, outside): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(|node| node.path.starts_with("/dev"));
    outside.iter().try_for_each(|node| root.make_device(node))?;
    Ok(inside)
}

/// Every device node below `dir`; links are left out, as in Docker.
fn collect(dir: &Path, in_guest: bool, found: &mut Vec<Node>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if meta.is_dir() {
            if !SKIPPED_DIRS.contains(&name.as_str()) {
                collect(&entry.path(), in_guest, found);
            }
        } else if let Some(block) = kind(&meta)
            && !SKIPPED.contains(&name.as_str())
            && !(in_guest && WALL.iter().any(|prefix| name.starts_with(prefix)))
        {
            let (mode, owner) = (meta.mode() & 0o7777, (meta.uid(), meta.gid()));
            found.push(Node { path: entry.path(), block, device: meta.rdev(), mode, owner });
        }
    }
}

/// Whether a device is a block device; `None` if it is none.
fn kind(meta: &Metadata) -> Option<bool> {
    let kind = meta.file_type();
    match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => Some(false),
        (_, true) => Some(true),
        (false, false) => None,
    }
}

fn parse(device: &Value) -> Result<Node> {
    let bad = || Error::message(format!("invalid device {device}"));
    let path = device["path"].as_str().filter(|path| path.starts_with('/')).ok_or_else(bad)?;
    let number = |name: &str| device[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let (major, minor) = (number("major").ok_or_else(bad)?, number("minor").ok_or_else(bad)?);
    let block = match device["type"].as_str() {
        Some("b") => true,
        Some("c" | "u") => false,
        _ => return Err(bad()),
    };
    let mode = number("fileMode").unwrap_or(0o666);
    let owner = (number("uid").unwrap_or(0), number("gid").unwrap_or(0));
    Ok(Node { path: plain(Path::new(path)), block, device: libc::makedev(major, minor), mode, owner })
}
