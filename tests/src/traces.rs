//! What an engine leaves on a machine: processes, mounts, cgroups, files.

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What can be seen of one engine, by its folder and its cgroup parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// Command lines, each with its pid's parent left out: they are compared.
    pub processes: BTreeSet<String>,
    /// Mount points, in this mount namespace and those of the processes.
    pub mounts: BTreeSet<String>,
    /// Folders of the cgroup hierarchies below the engine's parent.
    pub cgroups: BTreeSet<PathBuf>,
    /// Files, folders and sockets below the engine's folder.
    pub files: BTreeSet<PathBuf>,
}

impl Traces {
    /// Everything of the engine whose folder is `root` and whose cgroup parent
    /// is `name`.
    #[must_use]
    pub fn of(root: &Path, name: &str) -> Self {
        let pids = processes(root, name);
        let mut mounts = mounts(Path::new("/proc/self/mountinfo"), root);
        for (pid, _) in &pids {
            mounts.extend(mounts_of(*pid, root));
        }
        Self {
            processes: pids.into_iter().map(|(pid, line)| format!("{pid} {line}")).collect(),
            mounts,
            cgroups: cgroups(name).into_iter().collect(),
            files: files(root),
        }
    }

    /// The ids of the processes.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        self.processes.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
    }

    /// What is here and not in `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            processes: self.processes.difference(&before.processes).cloned().collect(),
            mounts: self.mounts.difference(&before.mounts).cloned().collect(),
            cgroups: self.cgroups.difference(&before.cgroups).cloned().collect(),
            files: self.files.difference(&before.files).cloned().collect(),
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Forgets what an engine keeps on purpose: images and its database.
    pub fn ignore_durable(&mut self, data_root: &Path) {
        let kept =
            ["blobs", "layers", "erofs", "disks", "cache", "build-cache", "templates"].map(|name| data_root.join(name));
        self.files.retain(|file| !kept.iter().any(|folder| file.starts_with(folder)) && !is_database(file));
        let folders = ["containers", "tmp", "volumes"].map(|name| data_root.join(name));
        let run = data_root.with_file_name("run");
        let empty = ["shims", "runtime", "netns", "forwarding"].map(|name| run.join(name));
        self.files.retain(|file| !folders.contains(file) && !empty.contains(file));
    }

    /// Forgets what the harness made, and the folders that an engine keeps empty.
    pub(crate) fn ignore_harness(&mut self, root: &Path) {
        // A lock file stays: removing it would let two hold it.
        let files = ["hakod.log", "home", "tmp", "data", "run", "run/hakod.lock"].map(|name| root.join(name));
        let home = root.join("home");
        self.files.retain(|file| !files.contains(file) && !file.starts_with(&home));
    }
}

fn is_database(file: &Path) -> bool {
    file.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with("hako.db"))
        || file.file_name().is_some_and(|name| ["lock", "hako.lock", "engine-id", "reserve"].iter().any(|n| name == *n))
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.processes.iter().try_for_each(|p| writeln!(f, "process {p}"))?;
        self.mounts.iter().try_for_each(|m| writeln!(f, "mount {m}"))?;
        self.cgroups.iter().try_for_each(|c| writeln!(f, "cgroup {}", c.display()))?;
        self.files.iter().try_for_each(|p| writeln!(f, "file {}", p.display()))
    }
}

/// Processes that name the engine's folder, have a file of it open or run in its
/// cgroups, but not the test's own clients.
fn processes(root: &Path, name: &str) -> Vec<(i32, String)> {
    let mine = i32::try_from(std::process::id()).unwrap_or(0);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if pid == mine || matches!(program.trim(), "docker" | "hako") {
            continue;
        }
        let named = line.contains(&*root.to_string_lossy()) || cgroup.contains(&format!("/{name}/"));
        if named || has_open(&entry.path(), root) {
            found.push((pid, if line.is_empty() { program.trim().to_owned() } else { line }));
        }
    }
    found
}

/// Whether the process has a file below `root` open: QEMU names none.
fn has_open(process: &Path, root: &Path) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target.starts_with(root))
}

fn mounts_of(pid: i32, root: &Path) -> BTreeSet<String> {
    mounts(&PathBuf::from(format!("/proc/{pid}/mountinfo")), root)
}

fn mounts(table: &Path, root: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let root = root.to_string_lossy();
    let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    text.lines().filter_map(point).filter(|point| point.starts_with(&*root)).collect()
}

/// The hierarchies of version 1 and the unified one.
fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return vec![base.to_path_buf()];
    }
    fs::read_dir(base).into_iter().flatten().filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

/// Folders below the cgroup parent `name`, the deepest first; the parent itself
/// belongs to the engine and goes with it.
fn cgroups(name: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&entry.path(), found);
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        walk(&hierarchy.join(name), &mut found);
    }
    found
}

fn files(root: &Path) -> BTreeSet<PathBuf> {
    fn walk(dir: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&path, found);
            }
            found.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    walk(root, &mut found);
    found
}

/// Ends and removes whatever of the engine is there, so that a failed test
/// leaves the machine clean.
pub(crate) fn clean(root: &Path, name: &str) {
    let begin = Instant::now();
    loop {
        let found = processes(root, name);
        if found.is_empty() || begin.elapsed() > Duration::from_secs(10) {
            break;
        }
        for (pid, _) in found {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
    unmount(root);
    remove_cgroups(name);
}

/// Unmounts everything below `root`.
pub(crate) fn unmount(root: &Path) {
    for mount in mounts(Path::new("/proc/self/mountinfo"), root).iter().rev() {
        let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
    }
}

/// Removes the engine's cgroups, in which no process is left.
pub(crate) fn remove_cgroups(name: &str) {
    for cgroup in cgroups(name).into_iter().chain(hierarchies().into_iter().map(|h| h.join(name))) {
        remove_cgroup(&cgroup);
    }
}

fn remove_cgroup(dir: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(dir) {
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy => thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
}
