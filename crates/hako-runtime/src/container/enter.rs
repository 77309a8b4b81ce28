//! Entering what a running process has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The group of version 2 that the process `pid` is in.
pub(super) fn group_of(pid: i32) -> io::Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let root = hako_os::cgroup::unified_root().unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
    Ok(root.join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path))))
}
