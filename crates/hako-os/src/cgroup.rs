//! Control groups of a container: version 1, version 2, and both at once.

pub mod limits;
mod make;

pub use make::make;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A hierarchy that is mounted on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Version 1: its controllers (or `name=…`). Version 2: none.
    controllers: Vec<String>,
    /// The group that the mount shows as its root.
    root: String,
    mountpoint: PathBuf,
}

impl Hierarchy {
    /// Version 1, and with a controller: not one that only names processes.
    fn controls(&self) -> bool {
        self.controllers.iter().any(|name| !name.starts_with("name="))
    }
}

/// The groups that belong to one container: one directory for each hierarchy.
#[derive(Debug, Clone, Default)]
pub struct Cgroup {
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
}

impl Cgroup {
    /// The groups of `pid` that this process is not in (and no ancestor of its
    /// own is): the container's, which may be frozen, killed and removed.
    ///
    /// # Errors
    /// The kernel's, where `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Self> {
        let own = parse_membership(&fs::read_to_string("/proc/self/cgroup")?);
        let theirs = parse_membership(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?);
        let foreign = |(controllers, path): &(String, String)| {
            !own.iter().any(|(c, p)| c == controllers && Path::new(p).starts_with(path))
        };
        let theirs: Vec<_> = theirs.into_iter().filter(foreign).collect();
        Ok(Self::locate(&hierarchies()?, |controllers| {
            theirs.iter().find(|(c, _)| is_same_hierarchy(controllers, c)).map(|(_, path)| path.as_str())
        }))
    }

    /// The groups at `path` (an OCI `cgroupsPath`) in every hierarchy where it exists.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn at(path: &str) -> io::Result<Self> {
        let mut found = Self::locate(&hierarchies()?, |_| Some(path));
        found.v1.retain(|(_, dir)| dir.is_dir());
        found.v2 = found.v2.filter(|dir| dir.is_dir());
        Ok(found)
    }

    fn locate<'a>(hierarchies: &[Hierarchy], path_in: impl Fn(&[String]) -> Option<&'a str>) -> Self {
        let mut found = Self::default();
        for hierarchy in hierarchies {
            let Some(path) = path_in(&hierarchy.controllers) else { continue };
            // A mount may show only a part of the hierarchy.
            let below = Path::new(path).strip_prefix(&hierarchy.root).or_else(|_| Path::new(path).strip_prefix("/"));
            let Ok(below) = below else { continue };
            // The root of a hierarchy is nobody's.
            let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if below.as_os_str().is_empty() || !plain {
                continue;
            }
            let dir = hierarchy.mountpoint.join(below);
            if hierarchy.controllers.is_empty() {
                found.v2.get_or_insert(dir);
            } else if !found.v1.iter().any(|(controllers, _)| controllers == &hierarchy.controllers) {
                found.v1.push((hierarchy.controllers.clone(), dir));
            }
        }
        found
    }

    /// Whether version 2 alone is in use.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }

    /// The directory that has `controller`: a version 1 hierarchy's, or else version 2's.
    #[must_use]
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        let v1 = self.v1.iter().find(|(controllers, _)| controllers.iter().any(|c| c == controller));
        match v1 {
            Some((_, dir)) => Some(dir),
            None if self.is_unified() => self.v2.as_deref(),
            None => None,
        }
    }

    /// The files that take a process of one thread into the groups, when it
    /// writes `0`. Version 1's are those for threads: for a whole process, even
    /// for one of one thread, the kernel waits until no other is being made or
    /// ends (a grace period of RCU, 8 to 20 ms). Version 2 has none for threads.
    pub fn procs(&self) -> impl Iterator<Item = PathBuf> {
        let threads = self.v1.iter().map(|(_, dir)| dir.join("tasks"));
        threads.chain(self.v2.iter().map(|dir| dir.join("cgroup.procs")))
    }

    /// Moves this process, which has one thread, into the groups.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self) -> io::Result<()> {
        let named = |path: &Path, err: io::Error| io::Error::new(err.kind(), format!("{}: {err}", path.display()));
        self.procs().try_for_each(|path| fs::write(&path, "0").map_err(|err| named(&path, err)))
    }

    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().map(|(_, dir)| dir).chain(&self.v2)
    }

    /// Every process in the groups and in those below; `None` if no group is
    /// the container's own.
    ///
    /// # Errors
    /// The kernel's; a group that is gone has no processes.
    pub fn pids(&self) -> io::Result<Option<Vec<i32>>> {
        let preferred = ["pids", "freezer", "memory", "cpu", "devices"].iter().find_map(|name| self.dir(name));
        let Some(dir) = preferred.or_else(|| self.dirs().next().map(PathBuf::as_path)) else { return Ok(None) };
        let mut pids = Vec::new();
        collect_pids(dir, &mut pids)?;
        Ok(Some(pids))
    }

    /// How many processes of the group the kernel has killed for memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.dir("memory") else { return 0 };
        let file = if self.is_unified() { "memory.events" } else { "memory.oom_control" };
        read_keyed(&dir.join(file)).get("oom_kill").copied().unwrap_or(0)
    }

    /// Asks the kernel to freeze or thaw the group; [`Self::is_frozen`] tells when it has.
    ///
    /// # Errors
    /// `NotFound` without a freezer, else the kernel's.
    pub fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let Some(dir) = self.dir("freezer") else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no freezer cgroup"));
        };
        if self.is_unified() {
            fs::write(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })
        } else {
            fs::write(dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
        }
    }

    /// Whether the whole group is frozen.
    ///
    /// # Errors
    /// As [`Self::set_frozen`].
    pub fn is_frozen(&self) -> io::Result<bool> {
        let Some(dir) = self.dir("freezer") else { return Ok(false) };
        if self.is_unified() {
            Ok(read_keyed(&dir.join("cgroup.events")).get("frozen") == Some(&1))
        } else {
            Ok(fs::read_to_string(dir.join("freezer.state"))?.trim_end() == "FROZEN")
        }
    }

    /// Kills every process of the group at one stroke, where the kernel can
    /// (version 2, since 5.14); says whether it did.
    #[must_use]
    pub fn kill(&self) -> bool {
        self.is_unified() && self.v2.as_ref().is_some_and(|dir| fs::write(dir.join("cgroup.kill"), "1").is_ok())
    }

    /// Removes the groups and those below them. What is gone already is no error.
    ///
    /// # Errors
    /// The first of the kernel's; the others are tried all the same.
    pub fn remove(&self) -> io::Result<()> {
        let mut result = Ok(());
        for dir in self.dirs() {
            result = result.and(remove_tree(dir));
        }
        result
    }

    /// [`Self::remove`], and then every parent that nobody uses any more: whoever
    /// makes a sibling meanwhile makes the parent again.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_with_parents(&self) -> io::Result<()> {
        self.remove()?;
        for dir in self.dirs() {
            // The root of a hierarchy refuses, and so does a group with another in it.
            let _ = dir.ancestors().skip(1).find(|parent| fs::remove_dir(parent).is_err());
        }
        Ok(())
    }
}

/// Version 2's mount point, where that version alone is in use.
#[must_use]
pub fn unified_root() -> Option<PathBuf> {
    let all = hierarchies().ok()?;
    if all.iter().any(Hierarchy::controls) {
        return None;
    }
    all.into_iter().find(|hierarchy| hierarchy.controllers.is_empty()).map(|hierarchy| hierarchy.mountpoint)
}

/// Where groups are mounted: version 2's, or all of version 1's.
///
/// # Errors
/// The kernel's.
pub fn mount_points(unified: bool) -> io::Result<Vec<PathBuf>> {
    let all = hierarchies()?.into_iter().filter(|hierarchy| hierarchy.controllers.is_empty() == unified);
    Ok(all.map(|hierarchy| hierarchy.mountpoint).collect())
}

/// The mount point of a version 1 hierarchy.
#[must_use]
pub fn legacy_root(controller: &str) -> Option<PathBuf> {
    let has = |hierarchy: &Hierarchy| hierarchy.controllers.iter().any(|name| name == controller);
    hierarchies().ok()?.into_iter().find(has).map(|hierarchy| hierarchy.mountpoint)
}

/// One number in a file; `None` if it is absent or says `max`.
#[must_use]
pub fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// Lines of `key number`; empty if the file is absent.
#[must_use]
pub fn read_keyed(path: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pair = |line: &str| {
        let (key, number) = line.split_once(' ')?;
        Some((key.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    // A group with threads alone has no readable process list: its processes are in its parent's.
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in entries {
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids)?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(err.kind(), format!("remove cgroup {}: {err}", dir.display())))
        }
        _ => Ok(()),
    }
}

fn is_same_hierarchy(mounted: &[String], membership: &str) -> bool {
    if mounted.is_empty() || membership.is_empty() {
        return mounted.is_empty() && membership.is_empty();
    }
    membership.split(',').any(|controller| mounted.iter().any(|m| m == controller))
}

/// `/proc/<pid>/cgroup`: (controllers, path); version 2's controllers are empty.
fn parse_membership(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse_mounts(mountinfo: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let controllers = match filesystem.next()? {
            "cgroup2" => Vec::new(),
            "cgroup" => {
                let options = filesystem.nth(1)?.split(',');
                options
                    .filter(|option| !matches!(*option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix"))
                    .map(str::to_owned)
                    .collect()
            }
            _ => return None,
        };
        let mut fields = mount.split(' ').skip(3);
        let root = fields.next()?.to_owned();
        Some(Hierarchy { controllers, root, mountpoint: PathBuf::from(unescape(fields.next()?)) })
    };
    mountinfo.lines().filter_map(hierarchy).collect()
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
26 24 0:23 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
27 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
28 24 0:25 / /tmp rw - tmpfs tmpfs rw";

    #[test]
    fn a_hybrid_machine_is_version_1() {
        let theirs = parse_membership("4:memory:/hako/x\n3:cpu,cpuacct:/hako/x\n0::/\n");
        let found = Cgroup::locate(&parse_mounts(HYBRID), |controllers| {
            theirs.iter().find(|(c, _)| is_same_hierarchy(controllers, c)).map(|(_, path)| path.as_str())
        });
        assert!(!found.is_unified());
        assert_eq!(found.v2, None);
        assert_eq!(found.dir("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/hako/x")));
        assert_eq!(found.dir("freezer"), None);
    }

    #[test]
    fn version_2_has_every_controller_in_one_place() {
        let mounts = parse_mounts("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate");
        let found = Cgroup::locate(&mounts, |_| Some("/hako/x"));
        assert!(found.is_unified());
        assert_eq!(found.dir("memory"), Some(Path::new("/sys/fs/cgroup/hako/x")));
    }

    #[test]
    fn paths_that_climb_are_nobodys() {
        let found = Cgroup::locate(&parse_mounts(HYBRID), |_| Some("/../../etc"));
        assert!(found.dirs().next().is_none());
    }
}
