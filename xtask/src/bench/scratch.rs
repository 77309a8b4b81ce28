//! The folder and the cgroups of one run, and their end.

use crate::programs;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

/// Where everything of a run lies. Dropped, it is all ended and removed.
pub struct Scratch {
    dir: TempDir,
    /// The parent of every cgroup of the run.
    pub cgroup: String,
}

impl Scratch {
    /// Makes the folder.
    pub fn new() -> Result<Self> {
        // A short name: unix sockets lie below it.
        let dir = tempfile::Builder::new().prefix("hb-").tempdir_in("/tmp").context("making a folder")?;
        let cgroup = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { dir, cgroup })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ends and removes everything, and fails if anything was left to end.
    pub fn remove(self) -> Result<()> {
        let left = self.clean();
        if left.is_empty() { Ok(()) } else { bail!("left behind, and now ended: {}", left.join(", ")) }
    }

    /// What was still there: processes, mounts. (cgroups of engines stay until
    /// here by their nature.)
    fn clean(&self) -> Vec<String> {
        let mark = self.dir.path().display().to_string();
        let mut left = Vec::new();
        for (pid, line) in processes(&mark) {
            left.push(format!("process {pid} ({})", line.chars().take(60).collect::<String>()));
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for _ in 0..100 {
            if processes(&mark).is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for point in mounts_below(self.dir.path()) {
            left.push(format!("mount {}", point.display()));
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
        for hierarchy in hierarchies() {
            remove_cgroups(&hierarchy.join(&self.cgroup));
        }
        left
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.clean();
    }
}

/// Processes whose command line has `mark` in it, without this one.
pub fn processes(mark: &str) -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(mark).then_some((pid, line))
        })
        .collect()
}

/// Mount points below `dir`, the innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    found.reverse();
    found
}

/// The roots of the cgroup hierarchies: one with cgroup2, one per controller
/// before it.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let below = fs::read_dir(&root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    below.filter(|path| path.is_dir()).chain([root.clone()]).collect()
}

fn remove_cgroups(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    // Not there in most hierarchies.
    let _ = fs::remove_dir(dir);
}

/// Starts `command` in a mount namespace of its own, prepared by `prepare`: what
/// it mounts dies with it. The namespace is a thread's, so this process keeps
/// its own.
pub fn spawn_apart(command: &mut Command, prepare: impl FnOnce() -> Result<()> + Send) -> Result<Child> {
    apart(prepare, move || command.spawn().with_context(|| format!("starting {:?}", command.get_program())))
}

/// Runs `body` on a thread with a mount namespace of its own.
pub fn apart<T: Send>(
    prepare: impl FnOnce() -> Result<()> + Send,
    body: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("making mounts private")?;
            prepare()?;
            body()
        });
        worker.join().unwrap_or_else(|_| bail!("a measuring thread panicked"))
    })
}

/// A program on the path, or the reason for a row without figures.
pub fn program(name: &str) -> std::result::Result<PathBuf, String> {
    programs::find(name).ok_or_else(|| format!("{name} is not installed"))
}
