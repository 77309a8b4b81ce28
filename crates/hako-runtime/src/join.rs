//! Namespaces of other processes. A specification names them by a process's
//! number, which may be another's by now: so they are opened first, and the
//! process is then proved to be the one that was meant.

use crate::error::{Context, Error, Result};
use hako_os::process::start_time;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;

/// `pid=start,…`: when the processes of joined namespaces began, in clock ticks
/// since boot.
pub const JOIN: &str = "hako.join";

/// Opens the namespaces of `linux.namespaces` that belong to processes named in
/// `annotation`, and puts the descriptors in the place of their paths. They
/// must stay open until the container is made.
pub fn open(linux: &mut Map<String, Value>, annotation: &str) -> Result<Vec<File>> {
    let pair = |pair: &str| {
        let (pid, start) = pair.split_once('=')?;
        Some((pid.parse().ok()?, start.parse().ok()?))
    };
    let starts: HashMap<i32, u64> = annotation.split(',').filter_map(pair).collect();
    let mut opened = Vec::new();
    let namespaces = linux.get_mut("namespaces").and_then(Value::as_array_mut);
    for namespace in namespaces.into_iter().flatten() {
        let Some(path) = namespace["path"].as_str().filter(|path| !path.is_empty()) else { continue };
        let Some(pid) = owner(path) else { continue };
        let Some(start) = starts.get(&pid) else { continue };
        let file = File::open(path).context(|| format!("open {path}"))?;
        if start_time(pid) != Some(*start) {
            return Err(Error::message(format!(
                "the container of process {pid}, whose namespace is to be joined, has ended"
            )));
        }
        namespace["path"] = json!(format!("/proc/self/fd/{}", file.as_raw_fd()));
        opened.push(file);
    }
    Ok(opened)
}

/// The process of `/proc/<pid>/ns/<kind>`.
fn owner(path: &str) -> Option<i32> {
    let (pid, rest) = path.strip_prefix("/proc/")?.split_once('/')?;
    rest.starts_with("ns/").then(|| pid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_anothers_is_refused() {
        let me = i32::try_from(std::process::id()).unwrap();
        let start = start_time(me).unwrap();
        let spec = || json!({"namespaces": [{"type": "ipc", "path": format!("/proc/{me}/ns/ipc")}, {"type": "pid"}]});
        let mut linux = spec().as_object().cloned().unwrap();
        let files = open(&mut linux, &format!("{me}={start}")).unwrap();
        assert_eq!(linux["namespaces"][0]["path"], format!("/proc/self/fd/{}", files[0].as_raw_fd()));
        let mut linux = spec().as_object().cloned().unwrap();
        assert!(open(&mut linux, &format!("{me}={}", start + 1)).is_err());
        let mut linux = spec().as_object().cloned().unwrap();
        assert!(open(&mut linux, "").unwrap().is_empty());
    }
}
