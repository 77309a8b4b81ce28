//! OCI's `linux.namespaces`.

use crate::error::{Context, Error, Result};
use crate::sys;
use nix::sched::CloneFlags;
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsFd;

/// Which a container has of its own, and which are another's.
#[derive(Debug)]
pub struct Namespaces {
    /// New ones.
    pub new: CloneFlags,
    /// Those to join.
    joined: Vec<(CloneFlags, File)>,
}

impl Namespaces {
    /// Reads the list, and opens those that have a path.
    pub fn parse(list: Option<&Value>) -> Result<Self> {
        let mut namespaces = Self { new: CloneFlags::empty(), joined: Vec::new() };
        for entry in list.and_then(Value::as_array).into_iter().flatten() {
            let kind = entry["type"].as_str().unwrap_or_default();
            let flag = match kind {
                "pid" => CloneFlags::CLONE_NEWPID,
                "network" => CloneFlags::CLONE_NEWNET,
                "mount" => CloneFlags::CLONE_NEWNS,
                "ipc" => CloneFlags::CLONE_NEWIPC,
                "uts" => CloneFlags::CLONE_NEWUTS,
                "cgroup" => CloneFlags::CLONE_NEWCGROUP,
                _ => return Err(Error::message(format!("not supported: a namespace of type {kind:?}"))),
            };
            match entry["path"].as_str().filter(|path| !path.is_empty()) {
                None => namespaces.new |= flag,
                Some(path) => {
                    let file = File::open(path).context(|| format!("open {path}"))?;
                    namespaces.joined.push((flag, file));
                }
            }
        }
        if !namespaces.new.contains(CloneFlags::CLONE_NEWNS) {
            return Err(Error::message("not supported: a container without a mount namespace of its own"));
        }
        Ok(namespaces)
    }

    /// Whether the container has another than this process, new or joined.
    pub fn has(&self, kind: CloneFlags) -> bool {
        self.new.contains(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether the container has a network of its own.
    pub fn own_network(&self) -> bool {
        self.new.contains(CloneFlags::CLONE_NEWNET)
    }

    /// Joins what this process must, so that its child is in it; answers which
    /// the child is made with.
    pub(super) fn parents_part(&self) -> Result<CloneFlags> {
        for (flag, file) in &self.joined {
            if *flag == CloneFlags::CLONE_NEWPID {
                sys::setns(file.as_fd(), *flag).context(|| "join the pid namespace")?;
            }
        }
        // Of the last its root is where the process is, which may not be there yet.
        Ok(self.new - CloneFlags::CLONE_NEWCGROUP)
    }

    /// Joins the others, and makes the one that is made last.
    pub(super) fn childs_part(&self) -> nix::Result<()> {
        for (flag, file) in &self.joined {
            if *flag != CloneFlags::CLONE_NEWPID {
                sys::setns(file.as_fd(), *flag)?;
            }
        }
        if self.new.contains(CloneFlags::CLONE_NEWCGROUP) {
            nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_are_known_or_refused() {
        let list = json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts", "path": "/proc/self/ns/uts"}]);
        let namespaces = Namespaces::parse(Some(&list)).unwrap();
        assert_eq!(namespaces.new, CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID);
        assert_eq!(namespaces.joined.len(), 1);
        assert!(!namespaces.own_network());
        for bad in [json!([{"type": "user"}, {"type": "mount"}]), json!([{"type": "pid"}])] {
            let text = Namespaces::parse(Some(&bad)).unwrap_err().to_string();
            assert!(text.starts_with("not supported: "), "{text}");
        }
    }
}
