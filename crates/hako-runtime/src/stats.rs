//! What a cgroup has used, in the form of `runc events --stats`. A file that
//! this kernel does not have counts as zero.

use crate::cgroup::Cgroup;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The statistics of a container's cgroup.
pub fn read(cgroup: &Cgroup) -> Value {
    if cgroup.unified() { unified(cgroup) } else { legacy(cgroup) }
}

fn unified(cgroup: &Cgroup) -> Value {
    let dir = cgroup.directory("").unwrap_or_default();
    let file = |name: &str| dir.join(name);
    let cpu = table(&file("cpu.stat"));
    let get = |name: &str| cpu.get(name).copied().unwrap_or(0);
    let memory = table(&file("memory.stat"));
    let events = table(&file("memory.events"));
    json!({
        "cpu": {
            "usage": {
                "total": get("usage_usec") * 1000,
                "kernel": get("system_usec") * 1000,
                "user": get("user_usec") * 1000,
            },
            "throttling": {
                "periods": get("nr_periods"),
                "throttledPeriods": get("nr_throttled"),
                "throttledTime": get("throttled_usec") * 1000,
            },
        },
        "memory": {
            "cache": memory.get("file").copied().unwrap_or(0),
            "usage": {
                "usage": number(&file("memory.current")),
                "max": number(&file("memory.peak")),
                "limit": number(&file("memory.max")),
                "failcnt": events.get("max").copied().unwrap_or(0),
            },
            "swap": {"usage": number(&file("memory.swap.current")), "limit": number(&file("memory.swap.max"))},
            "oomKills": events.get("oom_kill").copied().unwrap_or(0),
            "raw": memory,
        },
        "pids": {"current": number(&file("pids.current")), "limit": number(&file("pids.max"))},
        "blkio": {"ioServiceBytesRecursive": unified_io(&text(&file("io.stat")))},
    })
}

fn legacy(cgroup: &Cgroup) -> Value {
    let dir = |controller: &str| cgroup.directory(controller).unwrap_or_default();
    let (memory_dir, pids, cpuacct) = (dir("memory"), dir("pids"), dir("cpuacct"));
    let throttling = table(&dir("cpu").join("cpu.stat"));
    let get = |name: &str| throttling.get(name).copied().unwrap_or(0);
    let memory = table(&memory_dir.join("memory.stat"));
    let usage = |prefix: &str| {
        let file = |name: &str| number(&memory_dir.join(format!("memory.{prefix}{name}")));
        json!({
            "usage": file("usage_in_bytes"),
            "max": file("max_usage_in_bytes"),
            "limit": file("limit_in_bytes"),
            "failcnt": file("failcnt"),
        })
    };
    let per_cpu: Vec<u64> =
        text(&cpuacct.join("cpuacct.usage_percpu")).split_whitespace().filter_map(|n| n.parse().ok()).collect();
    json!({
        "cpu": {
            "usage": {
                "total": number(&cpuacct.join("cpuacct.usage")),
                "percpu": per_cpu,
                "kernel": number(&cpuacct.join("cpuacct.usage_sys")),
                "user": number(&cpuacct.join("cpuacct.usage_user")),
            },
            "throttling": {
                "periods": get("nr_periods"),
                "throttledPeriods": get("nr_throttled"),
                "throttledTime": get("throttled_time"),
            },
        },
        "memory": {
            "cache": memory.get("cache").copied().unwrap_or(0),
            "usage": usage(""),
            "swap": usage("memsw."),
            "oomKills": table(&memory_dir.join("memory.oom_control")).get("oom_kill").copied().unwrap_or(0),
            "raw": memory,
        },
        "pids": {"current": number(&pids.join("pids.current")), "limit": number(&pids.join("pids.max"))},
        "blkio": {"ioServiceBytesRecursive": legacy_io(&text(&dir("blkio").join("blkio.throttle.io_service_bytes_recursive")))},
    })
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A single number; `max` and an absent file are 0, which means no limit.
fn number(path: &Path) -> u64 {
    text(path).trim().parse().unwrap_or(0)
}

/// Lines of `name number`.
fn table(path: &Path) -> HashMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text(path).lines().filter_map(line).collect()
}

/// `8:0 rbytes=1 wbytes=2 …` as version 1's entries.
fn unified_io(text: &str) -> Vec<Value> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(device) = words.next() else { continue };
        for word in words {
            let op = match word.split_once('=') {
                Some(("rbytes", value)) => ("Read", value),
                Some(("wbytes", value)) => ("Write", value),
                _ => continue,
            };
            out.extend(io_entry(device, op.0, op.1));
        }
    }
    out
}

/// `8:0 Read 1`, and a total without a device.
fn legacy_io(text: &str) -> Vec<Value> {
    let entry = |line: &str| {
        let mut words = line.split(' ');
        io_entry(words.next()?, words.next()?, words.next()?)
    };
    text.lines().filter_map(entry).collect()
}

fn io_entry(device: &str, op: &str, value: &str) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let mut entry = Map::new();
    entry.insert("major".into(), json!(major.parse::<u64>().ok()?));
    entry.insert("minor".into(), json!(minor.parse::<u64>().ok()?));
    entry.insert("op".into(), json!(op));
    entry.insert("value".into(), json!(value.trim().parse::<u64>().ok()?));
    Some(Value::Object(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines_of_both_versions() {
        let two = unified_io("8:0 rbytes=10 wbytes=20 rios=1\n");
        assert_eq!(two[1], json!({"major": 8, "minor": 0, "op": "Write", "value": 20}));
        assert_eq!(legacy_io("8:0 Read 10\n8:0 Total 30\nTotal 30\n").len(), 2);
    }
}
