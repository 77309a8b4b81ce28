//! Reading a bundle: its `config.json`, and what is to be done by it.

use crate::cgroup::Cgroup;
use crate::container::mounts::Mount;
use crate::container::{Layout, Namespaces};
use crate::error::{Context, Error, Result, errno_text};
use crate::executor::Process;
use crate::join;
use crate::nodes;
use crate::privileges::Own;
use crate::process::{self, refuse};
use crate::rootfs::{Rootfs, plain};
use crate::seccomp::{self, Filter};
use hako_model::resources::Resources;
use nix::sched::CloneFlags;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names the file of the bundle with the compiled filter.
const SECCOMP_BPF: &str = "hako.seccomp.bpf";
/// Of OCI's `linux`, what is not done.
const REFUSED: [&str; 8] = [
    "uidMappings",
    "gidMappings",
    "timeOffsets",
    "personality",
    "intelRdt",
    "memoryPolicy",
    "netDevices",
    "mountLabel",
];

/// What can be known of a bundle before its root filesystem is there.
pub struct Draft {
    bundle: PathBuf,
    /// `config.json`, without what has its own place here.
    spec: Map<String, Value>,
    linux: Map<String, Value>,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// The filter of all the container's processes.
    pub filter: Option<Filter>,
    /// OCI's `cgroupsPath`.
    pub cgroup_path: String,
    /// The container's cgroup.
    pub cgroup: Cgroup,
    /// `linux.resources` without the limits: its rules for devices, and what is seldom asked for.
    pub rest: Map<String, Value>,
    /// The limits.
    pub resources: Resources,
    /// OCI's annotations.
    pub annotations: BTreeMap<String, String>,
    /// What the container is made of, but for its devices.
    layout: Layout,
}

/// Reads `bundle/config.json`.
pub fn read(bundle: &Path, id: &str) -> Result<Draft> {
    let mut spec = read_object(&bundle.join("config.json"))?;
    refuse(&spec, "config.json", &["hooks"])?;
    let annotations: BTreeMap<String, String> = match spec.remove("annotations") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(value) => serde_json::from_value(value).context(|| "parse annotations")?,
    };
    let root = spec.get("root").ok_or_else(|| Error::message("config.json has no root"))?;
    let (rootfs, read_only) = (bundle.join(root["path"].as_str().unwrap_or("rootfs")), root["readonly"] == true);
    let mounts = spec.remove("mounts").filter(|list| !list.is_null()).unwrap_or_else(|| json!([]));
    let mounts = serde_json::from_value(mounts).context(|| "parse mounts")?;

    let mut linux = match spec.remove("linux") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(linux)) => linux,
        Some(_) => return Err(Error::message("linux of config.json is no object")),
    };
    refuse(&linux, "linux", &REFUSED)?;
    let joined = join::open(&mut linux, annotations.get(join::JOIN).map_or("", String::as_str))?;
    let namespaces = Namespaces::parse(linux.get("namespaces"))?;
    drop(joined);
    if !namespaces.has(CloneFlags::CLONE_NEWUTS) {
        // They would be the machine's.
        refuse(&spec, "without a uts namespace: config.json", &["hostname", "domainname"])?;
    }
    let filter = match (annotations.get(SECCOMP_BPF), linux.remove("seccomp")) {
        (Some(file), _) => Some(read_filter(bundle, file)?),
        (None, Some(profile)) if !profile.is_null() => Some(seccomp::compile(&profile)?),
        (None, _) => None,
    };
    let text = |object: &Map<String, Value>, name: &str| {
        object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let paths = |name: &str| -> Vec<PathBuf> {
        let list = linux.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(PathBuf::from).collect()
    };
    let sysctl = linux.get("sysctl").and_then(Value::as_object).into_iter().flatten();
    let cgroup_path = text(&linux, "cgroupsPath").unwrap_or_else(|| format!("/hako/{id}"));
    let cgroup = Cgroup::new(&cgroup_path)?;
    let layout = Layout {
        rootfs,
        read_only,
        mounts,
        devices: Vec::new(),
        propagation: text(&linux, "rootfsPropagation"),
        sysctl: sysctl.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
        masked: paths("maskedPaths"),
        read_only_paths: paths("readonlyPaths"),
        hostname: text(&spec, "hostname"),
        domainname: text(&spec, "domainname"),
        no_pivot: false,
    };
    let mut rest = match linux.remove("resources") {
        Some(Value::Object(resources)) => resources,
        _ => Map::new(),
    };
    let resources = take_limits(&mut rest)?;
    let bundle = bundle.to_owned();
    Ok(Draft { bundle, spec, linux, namespaces, filter, cgroup_path, cgroup, rest, resources, annotations, layout })
}

impl Draft {
    /// What depends on the root filesystem, and on what else is mounted in the
    /// bundle: the layout, which is taken out, and the first process.
    pub fn on_root(&mut self, own: &Own) -> Result<(Layout, Process)> {
        let annotation = |name: &str| self.annotations.get(name).map_or("", String::as_str);
        let mut layout = std::mem::take(&mut self.layout);
        let root = Rootfs::open(&layout.rootfs)?;
        let object = self.spec.get("process").and_then(Value::as_object);
        let object = object.ok_or_else(|| Error::message("config.json has no process"))?;
        let process = process::adapt(object, &root, own, annotation(process::GROUP_ADD))?;
        find_binds(&mut layout.mounts, &self.bundle)?;
        prepare_directory(&layout.mounts, &root, &process.cwd);
        let all = annotation(nodes::DEVICES) == "all";
        layout.devices = nodes::of(&self.linux, &root, all, root_is_initramfs)?;
        self.cgroup.show(&mut layout.mounts);
        Ok((layout, process))
    }
}

/// Takes the limits that have a type of their own out of `linux.resources`.
fn take_limits(oci: &mut Map<String, Value>) -> Result<Resources> {
    let names = ["memory", "cpu", "pids", "blockIO"];
    let limits: Map<String, Value> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), oci.remove(*name).filter(|value| !value.is_null())?)))
        .collect();
    serde_json::from_value(limits.into()).context(|| "parse linux.resources")
}

/// A JSON object from a file.
pub fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let bytes = std::fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).context(|| format!("parse {}", path.display()))
}

fn read_filter(bundle: &Path, file: &str) -> Result<Filter> {
    if file.contains('/') || file == ".." {
        return Err(Error::message(format!("{SECCOMP_BPF} is no file of the bundle: {file}")));
    }
    let path = bundle.join(file);
    let bytes = std::fs::read(&path).context(|| format!("read {}", path.display()))?;
    Filter::from_bytes(&bytes).map_err(|err| Error::because(path.display(), err))
}

/// Bind sources become absolute, and are missed by name before anything is made.
fn find_binds(mounts: &mut [Mount], bundle: &Path) -> Result<()> {
    for mount in mounts {
        let Some(source) = mount.source.as_deref().filter(|_| mount.is_bind()) else { continue };
        let source = bundle.join(source);
        if let Err(errno) = nix::sys::stat::stat(&source) {
            let (target, source) = (mount.destination.display(), source.display());
            return Err(Error::message(format!(
                "error mounting \"{source}\" to rootfs at \"{target}\": stat {source}: {}",
                errno_text(errno)
            )));
        }
        mount.source = Some(source.to_string_lossy().into_owned());
    }
    Ok(())
}

/// Makes the working directory where the root filesystem has it, now, while it
/// can still be written. What lies under a mount is left for the executor.
fn prepare_directory(mounts: &[Mount], root: &Rootfs, cwd: &Path) {
    let covers = |mount: &Mount| {
        let target = plain(&mount.destination);
        target != Path::new("/") && cwd.starts_with(target)
    };
    if !mounts.iter().any(covers) {
        root.make_directory(cwd);
    }
}

/// Whether the root is the first of all, as it is in a guest.
pub fn root_is_initramfs() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"));
    root.and_then(|line| line.split_once(" - ")).is_some_and(|(_, tail)| tail.starts_with("rootfs "))
}
