//! One dockerd out of unpacked packages, and what it leaves behind.

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// For its start and for its end.
const DEADLINE: Duration = Duration::from_secs(60);
/// What dockerd and containerd make outside their own folders.
const STRAYS: [&str; 4] = ["/etc/docker", "/run/docker", "/run/containerd", "/opt/containerd"];

/// A running dockerd.
pub struct Daemon {
    child: Child,
    root: PathBuf,
    /// Those of [`STRAYS`] that were not there before.
    strays: Vec<&'static str>,
}

impl Daemon {
    /// Starts it on folders below `root`, with the programs of `trees`.
    ///
    /// # Errors
    /// It ends, or does not answer.
    pub fn start(root: &Path, trees: &[PathBuf]) -> Result<Self> {
        let folders = trees.iter().flat_map(|tree| ["usr/sbin", "usr/bin"].map(|folder| tree.join(folder)));
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(folders.chain(env::split_paths(&path))).context("a folder of PATH")?;
        let strays = STRAYS.into_iter().filter(|folder| !Path::new(folder).exists()).collect();
        let log = fs::File::create(root.join("log")).context("making a log")?;
        let at = |name: &str| root.join(name).display().to_string();
        // If this program dies, the daemon ends as on a wish, and containerd with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd", "--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("sock"))])
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args(["--ip-masq=false", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &name(root)])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("a second handle")?)
            .stderr(log)
            .spawn()
            .context("starting dockerd")?;
        let mut daemon = Self { child, root: root.to_owned(), strays };
        let begin = Instant::now();
        while daemon.ask("/_ping").is_none() {
            let ended = daemon.child.try_wait().ok().flatten();
            if ended.is_some() || begin.elapsed() > DEADLINE {
                let log = fs::read_to_string(root.join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                bail!("dockerd does not answer:\n{}", lines[lines.len().saturating_sub(10)..].join("\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }

    /// Its address.
    pub fn host(&self) -> String {
        format!("unix://{}", self.root.join("sock").display())
    }

    /// Its own version.
    pub fn version(&self) -> String {
        let body = self.ask("/version").unwrap_or_default();
        let version = serde_json::from_str::<serde_json::Value>(&body).ok();
        version.and_then(|version| Some(version["Version"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// The body of an answer.
    fn ask(&self, target: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.root.join("sock")).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(format!("GET {target} HTTP/1.0\r\nHost: hako\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// Ends it and removes what it has left. Goes on past errors.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn end(mut self) -> Result<()> {
        self.clean()
    }

    fn clean(&mut self) -> Result<()> {
        signal(i32::try_from(self.child.id()).unwrap_or(0), Signal::SIGTERM);
        let begin = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if begin.elapsed() > DEADLINE {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Shims outlive a daemon that was killed.
        while let Some(pid) = processes(&self.root).first().copied() {
            signal(pid, Signal::SIGKILL);
            anyhow::ensure!(begin.elapsed() < 2 * DEADLINE, "process {pid} of dockerd does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        for point in mounts(&self.root) {
            umount2(&point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", point.display()))?;
        }
        for folder in std::mem::take(&mut self.strays) {
            if let Err(err) = fs::remove_dir_all(folder)
                && err.kind() != std::io::ErrorKind::NotFound
            {
                return Err(err).with_context(|| format!("removing {folder}"));
            }
        }
        remove_cgroups(&name(&self.root));
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(err) = self.clean()
        {
            eprintln!("xtask: {err:#}");
        }
    }
}

/// The name of a folder, and of the cgroup parent.
fn name(root: &Path) -> String {
    root.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Processes whose command line names the daemon's folder. None of them is this
/// one or a test: those have ended, and name it only in their environment.
fn processes(root: &Path) -> Vec<i32> {
    let named = root.display().to_string();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&named)
        })
        .collect()
}

/// Mount points below `root`, the innermost first.
fn mounts(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(root)).collect();
    found.reverse();
    found
}

/// Removes the empty groups of the containers' parent in every hierarchy.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path().join(name));
    for parent in below.chain([root.join(name)]).filter(|parent| parent.is_dir()) {
        for group in walkdir::WalkDir::new(&parent).contents_first(true).into_iter().flatten() {
            if group.file_type().is_dir() {
                // A group that is not empty is told by its tests.
                let _ = fs::remove_dir(group.path());
            }
        }
    }
}
