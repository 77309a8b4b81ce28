//! Reading a bundle and making of it the specification that libcontainer gets.

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result, errno_text};
use crate::executor::Process;
use crate::join;
use crate::nodes;
use crate::privileges::Own;
use crate::process;
use crate::rootfs::Rootfs;
use crate::seccomp::{self, Filter};
use hako_model::resources::Resources;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Names the file of the bundle with the compiled filter.
const SECCOMP_BPF: &str = "hako.seccomp.bpf";

/// A bundle, ready to be created.
pub struct Plan {
    /// What libcontainer gets.
    pub spec: Value,
    /// What the executor does.
    pub process: Process,
    /// The filter of all the container's processes.
    pub filter: Option<Filter>,
    /// The container's cgroup.
    pub cgroup: Cgroup,
    /// `linux.resources.devices`, which on cgroup2 is ours to enforce.
    pub devices: Vec<Value>,
    /// The limits, which are ours to set.
    pub resources: Resources,
    /// Namespaces to join, open until the container is made.
    pub joined: Vec<File>,
}

/// Reads and adapts `bundle/config.json`.
pub fn plan(bundle: &Path, id: &str, own: &Own) -> Result<Plan> {
    let mut spec = read_object(&bundle.join("config.json"))?;
    let rootfs = root_path(&mut spec, bundle)?;
    let annotation = |name: &str| spec.get("annotations").and_then(|a| a.get(name)).and_then(Value::as_str);
    let group_add = annotation(process::GROUP_ADD).unwrap_or("").to_owned();
    let compiled = annotation(SECCOMP_BPF).map(str::to_owned);
    let join = annotation(join::JOIN).unwrap_or("").to_owned();
    let all_devices = annotation(nodes::DEVICES) == Some("all");

    let root = Rootfs::open(&rootfs)?;
    let object = spec.get_mut("process").and_then(Value::as_object_mut);
    let process = object.ok_or_else(|| Error::message("config.json has no process"))?;
    let process = process::adapt(process, &root, own, &group_add)?;
    adapt_mounts(&mut spec, bundle)?;
    prepare_directory(&spec, &root, &process.cwd);

    let linux = spec.entry("linux").or_insert_with(|| json!({}));
    let linux = linux.as_object_mut().ok_or_else(|| Error::message("linux of config.json is no object"))?;
    let joined = join::open(linux, &join)?;
    nodes::adapt(linux, &root, all_devices, root_is_initramfs())?;
    let filter = match (compiled, linux.remove("seccomp")) {
        (Some(file), _) => Some(read_filter(bundle, &file)?),
        (None, Some(profile)) if !profile.is_null() => Some(seccomp::compile(&profile)?),
        (None, _) => None,
    };
    let path = linux.get("cgroupsPath").and_then(Value::as_str).filter(|path| !path.is_empty());
    let path = path.map_or_else(|| format!("/hako/{id}"), str::to_owned);
    let cgroup = Cgroup::new(&path)?;
    linux.insert("cgroupsPath".into(), json!(path));
    let (mut devices, mut resources) = (Vec::new(), Resources::default());
    if let Some(oci) = linux.entry("resources").or_insert_with(|| json!({})).as_object_mut() {
        resources = take_limits(oci)?;
        devices = refuse_devices_first(oci);
    }
    if let Some(mounts) = spec.get_mut("mounts").and_then(Value::as_array_mut) {
        cgroup.show_read_only(mounts);
    }
    Ok(Plan { spec: Value::Object(spec), process, filter, cgroup, devices, resources, joined })
}

/// Takes the limits out of `linux.resources`: libcgroups sets some of them
/// wrongly (weights), or not at all (a device's weight, no swap on cgroup2).
fn take_limits(oci: &mut Map<String, Value>) -> Result<Resources> {
    let names = ["memory", "cpu", "pids", "blockIO"];
    let limits: Map<String, Value> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), oci.remove(*name).filter(|value| !value.is_null())?)))
        .collect();
    serde_json::from_value(limits.into()).context(|| "parse linux.resources")
}

/// Puts a rule that refuses all devices before the others, which are returned:
/// version 1 begins with all allowed.
fn refuse_devices_first(resources: &mut Map<String, Value>) -> Vec<Value> {
    let mut rules = vec![json!({"allow": false, "type": "a", "access": "rwm"})];
    rules.extend(resources.get("devices").and_then(Value::as_array).cloned().unwrap_or_default());
    resources.insert("devices".into(), json!(rules));
    rules
}

/// A JSON object from a file.
pub fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let bytes = std::fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).context(|| format!("parse {}", path.display()))
}

fn root_path(spec: &mut Map<String, Value>, bundle: &Path) -> Result<PathBuf> {
    let root = spec.get_mut("root").and_then(Value::as_object_mut);
    let root = root.ok_or_else(|| Error::message("config.json has no root"))?;
    let path = bundle.join(root.get("path").and_then(Value::as_str).unwrap_or("rootfs"));
    root.insert("path".into(), json!(path));
    Ok(path)
}

fn read_filter(bundle: &Path, file: &str) -> Result<Filter> {
    if file.contains('/') || file == ".." {
        return Err(Error::message(format!("{SECCOMP_BPF} is no file of the bundle: {file}")));
    }
    let path = bundle.join(file);
    let bytes = std::fs::read(&path).context(|| format!("read {}", path.display()))?;
    Filter::from_bytes(&bytes).map_err(|err| Error::because(path.display(), err))
}

/// Makes bind sources absolute, and misses them by name before anything is made.
fn adapt_mounts(spec: &mut Map<String, Value>, bundle: &Path) -> Result<()> {
    let Some(mounts) = spec.get_mut("mounts").and_then(Value::as_array_mut) else { return Ok(()) };
    for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
        let options = mount.get("options").and_then(Value::as_array).into_iter().flatten();
        let bind = mount.get("type").and_then(Value::as_str) == Some("bind")
            || options.filter_map(Value::as_str).any(|option| option == "bind" || option == "rbind");
        let Some(source) = mount.get("source").and_then(Value::as_str).filter(|_| bind) else { continue };
        let source = bundle.join(source);
        if let Err(errno) = nix::sys::stat::stat(&source) {
            let target = mount.get("destination").and_then(Value::as_str).unwrap_or("");
            let source = source.display();
            return Err(Error::message(format!(
                "error mounting \"{source}\" to rootfs at \"{target}\": stat {source}: {}",
                errno_text(errno)
            )));
        }
        mount.insert("source".into(), json!(source));
    }
    Ok(())
}

/// Makes the working directory where the root filesystem has it, now, while it
/// can still be written. What lies under a mount is left for the executor.
fn prepare_directory(spec: &Map<String, Value>, root: &Rootfs, cwd: &Path) {
    let mounts = spec.get("mounts").and_then(Value::as_array).into_iter().flatten();
    let mut targets = mounts.filter_map(|mount| mount.get("destination").and_then(Value::as_str));
    if !targets.any(|target| target != "/" && cwd.starts_with(target)) {
        root.make_directory(cwd);
    }
}

/// Whether the root is the first of all, as it is in a guest. pivot_root does
/// not work there.
pub fn root_is_initramfs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"));
    root.and_then(|line| line.split_once(" - ")).is_some_and(|(_, tail)| tail.starts_with("rootfs "))
}
