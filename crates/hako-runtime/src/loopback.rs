//! The loopback interface of a new network namespace, which the kernel makes
//! but does not bring up, and which runc brings up as well.

use crate::error::{Context, Result};
use crate::sys;
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use std::fs::{File, read_link};

/// Whether `spec` asks for a network namespace of the container's own.
pub fn wanted(spec: &Value) -> bool {
    let namespaces = spec["linux"]["namespaces"].as_array();
    namespaces.into_iter().flatten().any(|ns| ns["type"] == "network" && ns["path"].as_str().is_none_or(str::is_empty))
}

/// Brings `lo` up in the namespace of `pid`. This process stays in it: what it
/// still does needs no network.
pub fn up(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    if read_link(&path).ok() == read_link("/proc/self/ns/net").ok() {
        return Ok(());
    }
    let namespace = File::open(&path).context(|| path.clone())?;
    setns(&namespace, CloneFlags::CLONE_NEWNET).context(|| "enter the container's network namespace")?;
    sys::interface_up(c"lo").context(|| "bring up lo")
}
