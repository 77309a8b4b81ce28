//! The container's cgroup on both versions: where it lies, its processes, and
//! removing it.

mod seldom;

use crate::container::mounts::Mount;
use crate::devices;
use crate::error::{Context, Error, Result};
use hako_model::resources::Resources;
use hako_os::cgroup::limits;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// How long processes may take to die after SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// One cgroup: a directory on cgroup2, one for each controller on version 1.
pub struct Cgroup {
    /// Below each mount.
    path: PathBuf,
    mounts: Mounts,
}

enum Mounts {
    /// Version 1, also beside a cgroup2 without controllers ("hybrid").
    Legacy(Vec<Hierarchy>),
    /// cgroup2 alone.
    Unified,
}

struct Hierarchy {
    controllers: Vec<String>,
    mount: PathBuf,
}

impl Cgroup {
    /// The cgroup at OCI's `cgroupsPath`.
    pub fn new(path: &str) -> Result<Self> {
        let relative: PathBuf = Path::new(path).components().filter(|part| *part != Component::RootDir).collect();
        if relative.as_os_str().is_empty() || relative.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::message(format!("invalid cgroupsPath: {path}")));
        }
        let mounts = match statfs(ROOT).context(|| format!("statfs {ROOT}"))?.filesystem_type() {
            CGROUP2_SUPER_MAGIC => Mounts::Unified,
            _ => Mounts::Legacy(hierarchies(&fs::read_to_string("/proc/self/mountinfo").context(|| "read mountinfo")?)),
        };
        Ok(Self { path: relative, mounts })
    }

    /// Whether this is cgroup2.
    pub fn unified(&self) -> bool {
        matches!(self.mounts, Mounts::Unified)
    }

    /// All its directories with the mount that each is in.
    fn directories(&self) -> Vec<(PathBuf, PathBuf)> {
        match &self.mounts {
            Mounts::Unified => vec![(PathBuf::from(ROOT), Path::new(ROOT).join(&self.path))],
            Mounts::Legacy(all) => all.iter().map(|h| (h.mount.clone(), h.mount.join(&self.path))).collect(),
        }
    }

    /// Its directory for a controller of version 1, or its only one.
    pub fn directory(&self, controller: &str) -> Option<PathBuf> {
        match &self.mounts {
            Mounts::Unified => Some(Path::new(ROOT).join(&self.path)),
            Mounts::Legacy(all) => {
                let found = all.iter().find(|h| h.controllers.iter().any(|c| c == controller))?;
                Some(found.mount.join(&self.path))
            }
        }
    }

    /// On version 1, puts binds of the container's own cgroups in the place of a
    /// `cgroup` mount: mounted anew, the hierarchies would let a container that
    /// may not write change its own limits.
    pub fn show(&self, mounts: &mut Vec<Mount>) {
        let Mounts::Legacy(all) = &self.mounts else { return };
        let Some(at) = mounts.iter().position(|mount| mount.kind.as_deref() == Some("cgroup")) else { return };
        let access = if mounts[at].options.iter().any(|option| option == "ro") { "ro" } else { "rw" };
        let destination = mounts[at].destination.clone();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut shown = vec![Mount {
            destination: destination.clone(),
            kind: Some("tmpfs".to_owned()),
            source: Some("tmpfs".to_owned()),
            options: words(&["nosuid", "noexec", "nodev", "mode=755"]),
        }];
        for hierarchy in all {
            for controller in &hierarchy.controllers {
                shown.push(Mount {
                    destination: destination.join(controller),
                    kind: Some("bind".to_owned()),
                    source: Some(hierarchy.mount.join(&self.path).to_string_lossy().into_owned()),
                    options: words(&["bind", access, "nosuid", "noexec", "nodev"]),
                });
            }
        }
        mounts.splice(at..=at, shown);
    }

    /// Makes it with its limits, before any process is in it. `rest` is what
    /// `linux.resources` has besides.
    pub fn make(&self, resources: &Resources, rest: &Map<String, Value>) -> Result<hako_os::cgroup::Cgroup> {
        let path = self.path.display().to_string();
        let made = hako_os::cgroup::make(&path).context(|| "cgroup")?;
        limits::apply(&made, resources).context(|| format!("limits of cgroup {path}"))?;
        seldom::apply(&made, rest).context(|| format!("limits of cgroup {path}"))?;
        if let Some(dir) = made.dir("devices").filter(|_| !made.is_unified()) {
            devices::legacy(dir, rest.get("devices")).context(|| format!("rules for devices of cgroup {path}"))?;
        }
        Ok(made)
    }

    /// The groups as they are.
    pub fn existing(&self) -> Result<hako_os::cgroup::Cgroup> {
        let path = format!("/{}", self.path.display());
        hako_os::cgroup::Cgroup::at(&path).context(|| format!("cgroup {path}"))
    }

    /// Freezes or thaws all of it, and waits for that.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let group = self.existing()?;
        let begin = Instant::now();
        loop {
            // Anew each time: version 1 gives up when a fork comes in between.
            group.set_frozen(frozen).context(|| "freezer")?;
            if group.is_frozen().context(|| "freezer")? == frozen {
                return Ok(());
            }
            if begin.elapsed() > DEATH {
                // Half frozen is worse than running.
                _ = group.set_frozen(false);
                return Err(Error::message("the container does not freeze"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Changes the limits of one in use.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        limits::apply(&self.existing()?, resources).context(|| "update")
    }

    /// All processes in it and below.
    pub fn pids(&self) -> Vec<i32> {
        let known = ["devices", "memory", "pids", "freezer"].iter().find_map(|controller| self.directory(controller));
        let mut pids = Vec::new();
        if let Some(directory) = known {
            walk(&directory, &mut |dir| pids.extend(pids_of(dir)));
        }
        pids
    }

    /// Kills everything in it, frozen or not, and waits until it is empty.
    pub fn kill_all(&self) -> Result<()> {
        let end = Instant::now() + DEATH;
        let mut pause = Duration::from_micros(200);
        loop {
            let pids = self.pids();
            if pids.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::message(format!("processes {pids:?} of {} do not die", self.path.display())));
            }
            if !self.unified() || fs::write(Path::new(ROOT).join(&self.path).join("cgroup.kill"), "1").is_err() {
                pids.iter().for_each(|pid| _ = crate::sys::kill(*pid, nix::libc::SIGKILL));
            }
            if let Some(freezer) = self.directory("freezer").filter(|_| !self.unified()) {
                _ = fs::write(freezer.join("freezer.state"), "THAWED");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes it, what the container made below it, and parents that nobody
    /// uses any more.
    pub fn remove(&self) -> Result<()> {
        for (mount, directory) in self.directories() {
            let mut below = Vec::new();
            walk(&directory, &mut |dir| below.push(dir.to_owned()));
            for dir in below.iter().rev() {
                remove_one(dir)?;
            }
            let parents = directory.ancestors().skip(1).take_while(|parent| **parent != *mount);
            for parent in parents {
                if fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The last process may still be on its way out.
fn remove_one(dir: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
            Err(err) if err.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(err) => return Err(err).context(|| format!("remove cgroup {}", dir.display())),
        }
    }
}

/// Calls `visit` for a directory and all below, parents first.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    visit(dir);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
}

fn pids_of(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Hierarchies of version 1 with a controller, from mountinfo.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let entry = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        if right.next()? != "cgroup" {
            return None;
        }
        let controllers: Vec<String> =
            right.nth(1)?.split(',').filter(|o| !matches!(*o, "rw" | "ro")).map(str::to_owned).collect();
        let named = controllers.iter().any(|c| c.starts_with("name="));
        let mount = PathBuf::from(left.split(' ').nth(4)?);
        (!named).then_some(Hierarchy { controllers, mount })
    };
    mountinfo.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_those_with_a_controller() {
        let text = "30 29 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                    31 29 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                    32 29 0:27 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n\
                    33 29 0:28 / /sys/fs/cgroup/pids rw shared:5 - cgroup cgroup rw,pids\n";
        let found = hierarchies(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(found[1].mount, Path::new("/sys/fs/cgroup/pids"));
    }

    #[test]
    fn a_container_sees_its_own_cgroups() {
        let hierarchy = Hierarchy { controllers: vec!["cpu".into(), "cpuacct".into()], mount: "/c/cpu,cpuacct".into() };
        let cgroup = Cgroup { path: "hako/x".into(), mounts: Mounts::Legacy(vec![hierarchy]) };
        for access in ["ro", "rw"] {
            let text = r#"[{"destination": "/sys", "type": "sysfs"}, {"destination": "/dev/shm", "type": "tmpfs"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ACCESS"]}]"#;
            let mut mounts: Vec<Mount> = serde_json::from_str(&text.replace("ACCESS", access)).unwrap();
            cgroup.show(&mut mounts);
            let targets: Vec<_> = mounts.iter().filter_map(|mount| mount.destination.to_str()).collect();
            let expected = ["/sys", "/dev/shm", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct"];
            assert_eq!(targets, expected);
            assert_eq!(mounts[3].source.as_deref(), Some("/c/cpu,cpuacct/hako/x"));
            assert_eq!(mounts[3].options[1], access);
        }
    }

    #[test]
    fn a_path_cannot_lead_out() {
        assert!(Cgroup::new("/a/../../b").is_err());
        assert!(Cgroup::new("/").is_err());
        assert!(Cgroup::new("").is_err());
    }
}
