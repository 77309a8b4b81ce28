//! Mounts of the OCI spec, and what of the host they are of.
//!
//! | a mount of the host's | in `config.json` |
//! |---|---|
//! | that hears of no other mounts (`rprivate`), as nearly all | its path; the root's propagation is `private` |
//! | any, behind the hyperv wall | `shares/<n>`: a file server's process gives it to the guest |
//! | any, if one of them is `shared` or `slave`, and a part of a volume | `mount-<n>`, which the shim puts into the bundle |
//!
//! The shim's mount namespace hears of the host's mounts and tells of none. So
//! what shall be told of, and what must not lead out of a volume, is found by
//! the shim in the engine's namespace.

use super::{RootMount, process::has_init, shares};
use crate::{
    Engine,
    containers::record::{Mounted, Record},
    volumes,
};
use hako_api::types::{HostConfig, TmpfsOptions};
use hako_model::{Error, Isolation, Result, Share, policy};
use hako_os::{mount::table, process::start_time};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the mounts of a container are of.
pub struct Plan {
    /// The source of each of the record's mounts, empty where it has none.
    pub sources: Vec<String>,
    /// What the shim puts into the bundle.
    pub root: Vec<RootMount>,
    /// What a guest is given of the host.
    pub shares: Vec<Share>,
    /// `linux.rootfsPropagation`.
    pub propagation: &'static str,
}

/// How mounts made later are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Propagation {
    Private,
    Slave,
    Shared,
}

impl Propagation {
    fn of(mounted: &Mounted) -> Self {
        match mounted.point.propagation.as_str() {
            "shared" | "rshared" => Self::Shared,
            "slave" | "rslave" => Self::Slave,
            _ => Self::Private,
        }
    }
}

/// Finds what the mounts are of; makes folders that `-v` may make.
///
/// # Errors
/// Docker's words for what is wrong on the host.
pub fn plan(engine: &Engine, record: &Record) -> Result<Plan> {
    let of_host = || record.mounts.iter().filter(|mounted| mounted.is_of_host());
    let most = of_host().map(Propagation::of).max().unwrap_or(Propagation::Private);
    if record.isolation == Isolation::Hyperv && most != Propagation::Private {
        return Err(Error::unsupported("mounts that propagate, behind the hyperv wall: the guest's kernel is another"));
    }
    let mut plan = Plan {
        sources: Vec::new(),
        root: Vec::new(),
        shares: Vec::new(),
        propagation: match most {
            Propagation::Private => "private",
            Propagation::Slave => "slave",
            Propagation::Shared => "shared",
        },
    };
    for (n, mounted) in record.mounts.iter().enumerate() {
        if !mounted.is_of_host() {
            plan.sources.push(String::new());
            continue;
        }
        let source = source(engine, mounted);
        ready(&source, mounted)?;
        if record.isolation == Isolation::Hyperv {
            plan.sources.push(shares::source(plan.shares.len()));
            plan.shares.push(shares::share(source, mounted)?);
            continue;
        }
        if most == Propagation::Private && mounted.subpath.is_empty() {
            plan.sources.push(source.display().to_string());
            continue;
        }
        let name = format!("mount-{n}");
        plan.root.push(staged(&source, mounted, &name)?);
        plan.sources.push(name);
    }
    Ok(plan)
}

/// Where a mount's files are on the host.
pub fn source(engine: &Engine, mounted: &Mounted) -> PathBuf {
    match mounted.volume() {
        Some(name) => volumes::path(engine, name),
        None => PathBuf::from(&mounted.point.source),
    }
}

fn ready(source: &Path, mounted: &Mounted) -> Result<()> {
    let shown = source.display();
    if mounted.make_source && !source.exists() {
        fs::create_dir_all(source)
            .map_err(|err| Error::internal(format!("error while creating mount source path '{shown}': {err}")))?;
    }
    let propagation = Propagation::of(mounted);
    if propagation == Propagation::Private {
        return Ok(());
    }
    let real = source.canonicalize().map_err(|err| Error::internal(format!("{shown}: {err}")))?;
    let Some(mount) = table::mount_of(&real)? else { return Ok(()) };
    let why = match propagation {
        Propagation::Shared if !mount.is_shared => "a shared mount",
        Propagation::Slave if !mount.is_shared && !mount.is_slave => "a shared or slave mount",
        Propagation::Private | Propagation::Slave | Propagation::Shared => return Ok(()),
    };
    Err(Error::internal(format!("path {shown} is mounted on {} but it is not {why}", mount.point.display())))
}

/// For the shim: found in this process's mount namespace.
fn staged(source: &Path, mounted: &Mounted, name: &str) -> Result<RootMount> {
    let pid = std::process::id();
    let start =
        i32::try_from(pid).ok().and_then(start_time).ok_or_else(|| Error::internal("the engine has no start"))?;
    let word = match mounted.point.propagation.as_str() {
        "" => "rprivate",
        word => word,
    };
    let mut options = vec![format!("propagation={word}")];
    if !mounted.non_recursive {
        options.push("rbind".to_owned());
    }
    if !mounted.subpath.is_empty() {
        options.push(format!("beneath={}", mounted.subpath));
    }
    Ok(RootMount {
        type_: "host".to_owned(),
        source: format!("{pid}={start}:{}", source.display()),
        target: name.to_owned(),
        options,
        ..RootMount::default()
    })
}

/// `mounts` of the OCI spec: the defaults, the engine's files, then what was
/// asked for, outer folders first. `sources` are the plan's. `shm` is what
/// `/dev/shm` is a bind mount of, where it is not the container's own.
pub fn oci(
    host: &HostConfig,
    asked_for: &[Mounted],
    sources: &[String],
    shm: Option<&str>,
    writable_cgroups: bool,
) -> Vec<Value> {
    let mut mounts: Vec<Value> = Vec::new();
    let taken = |target: &str| asked_for.iter().any(|mounted| mounted.point.destination == target);
    let asked = |target: &str| taken(target) || host.tmpfs.contains_key(target);
    for mut mount in policy::default_mounts() {
        if mount.destination == "/dev/shm" {
            if host.ipc_mode == "none" || asked("/dev/shm") {
                continue;
            }
            if let Some(source) = shm {
                let options = ["rbind", "rprivate", "rw"];
                mounts.push(json!({"destination": "/dev/shm", "type": "bind", "source": source, "options": options}));
                continue;
            }
            mount.options.retain(|option| !option.starts_with("size="));
            mount.options.push(format!("size={}", host.shm_size));
        }
        let cgroups = mount.destination == "/sys/fs/cgroup";
        if (host.privileged && (cgroups || mount.destination == "/sys")) || (writable_cgroups && cgroups) {
            mount.options.retain(|option| option != "ro");
            mount.options.push("rw".to_owned());
        }
        mounts.push(json!(mount));
    }
    // Given by the caller: paths in the bundle are relative.
    let file = |source: &str, target: &str, ro: bool| {
        let access = if ro { "ro" } else { "rw" };
        json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", access]})
    };
    for (source, target) in
        [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
    {
        if !taken(target) {
            mounts.push(file(source, target, false));
        }
    }
    if has_init(host) {
        mounts.push(file("init", INIT, true));
    }
    let mut asked: Vec<(String, Value)> = Vec::new();
    for (target, options) in &host.tmpfs {
        asked.push((target.clone(), tmpfs(target, options.split(',').filter(|o| !o.is_empty()).map(str::to_owned))));
    }
    for mount in host.mounts.iter().flatten().filter(|mount| mount.r#type == "tmpfs") {
        let words = tmpfs_words(mount.read_only, mount.tmpfs_options.as_ref());
        asked.push((mount.target.clone(), tmpfs(&mount.target, words.into_iter())));
    }
    for (mounted, source) in asked_for.iter().zip(sources).filter(|(mounted, _)| mounted.is_of_host()) {
        let destination = &mounted.point.destination;
        if !host.tmpfs.contains_key(destination) {
            asked.push((destination.clone(), bind(mounted, source)));
        }
    }
    asked.sort_by_key(|(target, _)| target.split('/').filter(|part| !part.is_empty()).count());
    mounts.extend(asked.into_iter().map(|(_, mount)| mount));
    mounts
}

/// Where Docker puts its init.
pub const INIT: &str = "/sbin/docker-init";

fn bind(mounted: &Mounted, source: &str) -> Value {
    let access = match (mounted.point.rw, mounted.writable_below) {
        (true, _) => "rw",
        // With all that is mounted below.
        (false, false) => "rro",
        (false, true) => "ro",
    };
    let bind = if mounted.non_recursive { "bind" } else { "rbind" };
    let mut options = vec![bind, access];
    if !mounted.point.propagation.is_empty() {
        options.push(&mounted.point.propagation);
    }
    json!({"destination": mounted.point.destination, "type": "bind", "source": source, "options": options})
}

fn tmpfs_words(read_only: bool, options: Option<&TmpfsOptions>) -> Vec<String> {
    let options = options.cloned().unwrap_or_default();
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_owned());
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes != 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    words.extend(options.options.unwrap_or_default().into_iter().map(|option| option.join("=")));
    words
}

fn tmpfs(target: &str, asked: impl Iterator<Item = String>) -> Value {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
    for option in asked {
        // `exec` takes back `noexec`, and so on.
        options.retain(|old| *old != format!("no{option}") && option != format!("no{old}"));
        if !options.contains(&option) {
            options.push(option);
        }
    }
    json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_is_so_all_the_way_down() {
        let options = |rw, writable_below, non_recursive| {
            let mut mounted = Mounted { writable_below, non_recursive, ..Mounted::default() };
            mounted.point.rw = rw;
            bind(&mounted, "/x")["options"].clone()
        };
        assert_eq!(options(true, false, false), json!(["rbind", "rw"]));
        assert_eq!(options(false, false, false), json!(["rbind", "rro"]));
        assert_eq!(options(false, true, false), json!(["rbind", "ro"]));
        assert_eq!(options(false, false, true), json!(["bind", "rro"]));
    }

    #[test]
    fn order_and_options() {
        let mut host = HostConfig { shm_size: 7, ..HostConfig::default() };
        host.tmpfs.insert("/a/b".into(), "exec,size=1m".into());
        host.tmpfs.insert("/a".into(), String::new());
        let mounts = oci(&host, &[], &[], None, false);
        let last = &mounts[mounts.len() - 1];
        assert_eq!(last["destination"], "/a/b");
        assert_eq!(last["options"], json!(["nosuid", "nodev", "exec", "size=1m"]));
        assert!(mounts.iter().any(|m| m["options"].as_array().is_some_and(|o| o.contains(&json!("size=7")))));
    }
}
