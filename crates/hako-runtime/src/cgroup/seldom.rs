//! What `linux.resources` seldom has: huge pages, classes of packets, and what
//! is version 2's alone.

use hako_os::cgroup::Cgroup;
use serde_json::{Map, Value};
use std::{fs, io, path::Path};

/// Sets them.
pub fn apply(group: &Cgroup, resources: &Map<String, Value>) -> io::Result<()> {
    for (controller, file, value) in wanted(resources, group.is_unified()) {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no cgroup with {controller} for {file}"));
        write(group.dir(&controller).ok_or_else(missing)?, &file, &value)?;
    }
    Ok(())
}

fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    fs::write(&path, value)
        .map_err(|err| io::Error::new(err.kind(), format!("write {value:?} to {}: {err}", path.display())))
}

/// (controller, file, value).
fn wanted(resources: &Map<String, Value>, unified: bool) -> Vec<(String, String, String)> {
    let mut wanted = Vec::new();
    let end = if unified { "max" } else { "limit_in_bytes" };
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    for limit in list(resources.get("hugepageLimits")) {
        if let (Some(size), Some(bytes)) = (limit["pageSize"].as_str(), limit["limit"].as_u64()) {
            wanted.push(("hugetlb".to_owned(), format!("hugetlb.{size}.{end}"), bytes.to_string()));
        }
    }
    if unified {
        for (file, value) in resources.get("unified").and_then(Value::as_object).into_iter().flatten() {
            let controller = file.split('.').next().unwrap_or_default();
            wanted.push((controller.to_owned(), file.clone(), value.as_str().unwrap_or_default().to_owned()));
        }
    }
    // Version 2 has neither, as in runc.
    if let Some(network) = resources.get("network").filter(|_| !unified) {
        if let Some(class) = network["classID"].as_u64() {
            wanted.push(("net_cls".to_owned(), "net_cls.classid".to_owned(), class.to_string()));
        }
        for priority in list(network.get("priorities")) {
            if let (Some(name), Some(value)) = (priority["name"].as_str(), priority["priority"].as_u64()) {
                wanted.push(("net_prio".to_owned(), "net_prio.ifpriomap".to_owned(), format!("{name} {value}")));
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn files_are_each_versions_own() {
        let text = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 9}], "unified": {"memory.high": "7"},
            "network": {"classID": 5, "priorities": [{"name": "lo", "priority": 3}]}}"#;
        let resources: Map<String, Value> = serde_json::from_str(text).unwrap();
        let lines = |unified| -> HashSet<String> {
            wanted(&resources, unified).into_iter().map(|(c, file, value)| format!("{c} {file} {value}")).collect()
        };
        let legacy =
            ["hugetlb hugetlb.2MB.limit_in_bytes 9", "net_cls net_cls.classid 5", "net_prio net_prio.ifpriomap lo 3"];
        assert_eq!(lines(false), legacy.map(str::to_owned).into());
        assert_eq!(lines(true), ["hugetlb hugetlb.2MB.max 9", "memory memory.high 7"].map(str::to_owned).into());
    }
}
