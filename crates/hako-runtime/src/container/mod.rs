//! Making a container, and processes that join one.
//!
//! ```text
//! create                                     the container's first process
//!   clone3: namespaces, cgroup of version 2 ──► cgroups of version 1, session
//!   rules for devices (meanwhile)               namespaces to join, names
//!                                               mounts, devices, its root
//!                                               sysctls, terminal, masks
//!                                               user, capabilities
//!   ready ◄──────────────── report ──────────── executor: directory, program
//!   (or why not)                                waits on start.sock
//! start: a word to start.sock ────────────────► seccomp, execve
//! ```
//!
//! The report is a pipe that execve closes: what is read from it before its end
//! is why there is no process.

mod child;
mod console;
mod enter;
pub mod mounts;
mod namespaces;

pub use namespaces::Namespaces;

use crate::error::{Context, Error, Result};
use crate::executor::ProcessExecutor;
use crate::rootfs::Node;
use crate::sys::{self, Cloned};
use hako_os::cgroup::Cgroup;
use mounts::Mount;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The report of a process that is ready. Every other is an error's text.
const READY: u8 = 0;
/// An error's text is cut here.
const MOST: usize = 4096;
/// Why a container that is full takes no process.
const TOO_MANY: &str = "the container has as many processes as its pids limit allows";

/// What a container is made of, besides its first process.
#[derive(Debug, Default)]
pub struct Layout {
    /// The root filesystem.
    pub rootfs: PathBuf,
    /// Whether its root is read-only in the end.
    pub read_only: bool,
    /// OCI's `mounts`, in their order.
    pub mounts: Vec<Mount>,
    /// Nodes in `/dev`.
    pub devices: Vec<Node>,
    /// `shared`, `slave`, `private` or `unbindable`.
    pub propagation: Option<String>,
    /// Files of `/proc/sys`, with dots, and what is written to them.
    pub sysctl: Vec<(String, String)>,
    /// What nobody may see.
    pub masked: Vec<PathBuf>,
    /// What nobody may change.
    pub read_only_paths: Vec<PathBuf>,
    /// The name of the host.
    pub hostname: Option<String>,
    /// The NIS domain.
    pub domainname: Option<String>,
    /// Move the root in place of pivot_root.
    pub no_pivot: bool,
}

/// A process that was made and has something to say.
pub struct Made {
    pid: Pid,
    report: File,
}

/// Makes the first process of a container up to where it waits for `start`.
/// `group` is the container's; its limits and rules are set.
pub fn first(
    layout: &Layout,
    namespaces: &Namespaces,
    group: &Cgroup,
    executor: &ProcessExecutor,
    terminal: Option<&Path>,
    start: UnixListener,
) -> Result<Made> {
    let terminal = terminal.map(console::connect).transpose()?;
    // As for one that joins: its number space may be another container's.
    nix::sys::prctl::set_dumpable(false).context(|| "prctl")?;
    let entry = Entry::new(group, None)?;
    spawn(namespaces.parents_part()?, &entry, |writer, entered| {
        if !entered {
            entry.enter().map_err(|err| format!("enter the cgroup: {err}"))?;
        }
        child::first(layout, namespaces, group, executor, terminal, &start, writer)
    })
}

/// Makes a process in the namespaces and groups of `process`, whose number is
/// `pid`; it waits for nothing. This process is in the container afterwards: what
/// it still needs of the machine it must have opened.
pub fn joining(
    process: &OwnedFd,
    pid: i32,
    group: &Cgroup,
    executor: &ProcessExecutor,
    terminal: Option<&Path>,
) -> Result<Made> {
    let terminal = terminal.map(console::connect).transpose()?;
    // The container's processes may look at nothing of it before its program runs
    // (CVE-2016-9962).
    nix::sys::prctl::set_dumpable(false).context(|| "prctl")?;
    let entry = Entry::new(group, Some(pid))?;
    // All at once, and before they can see it: what is there never has the
    // machine's root.
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET;
    sys::setns(process.as_fd(), all).context(|| "enter the container's namespaces")?;
    spawn(CloneFlags::empty(), &entry, |writer, entered| {
        if !entered {
            entry.enter().map_err(|err| format!("enter the container's cgroup: {err}"))?;
        }
        child::joining(process, executor, terminal, writer)
    })
}

/// The way into a container's groups, open.
struct Entry {
    /// Of version 2: the groups in which a process may begin, the first that takes it.
    targets: Vec<File>,
    /// Where a process of one thread writes `0`.
    files: Vec<File>,
    /// How many processes are in the group, and how many may be.
    pids: Option<[File; 2]>,
}

impl Entry {
    /// Into `group`. `beside` is a process of the container.
    fn new(group: &Cgroup, beside: Option<i32>) -> Result<Self> {
        let open = |dir: &Path| File::open(dir).context(|| format!("open cgroup {}", dir.display()));
        let mut targets = Vec::new();
        if let Some(dir) = group.dir("").filter(|_| group.is_unified()) {
            targets.push(open(dir)?);
            if let Some(pid) = beside {
                // Where it has put its processes into groups below, as systemd does.
                let theirs = enter::group_of(pid).context(|| format!("cgroup of process {pid}"))?;
                targets.push(open(&theirs)?);
            }
        }
        let write = |path: &Path| File::options().write(true).open(path).context(|| format!("open {}", path.display()));
        let files = group.procs().map(|path| write(&path)).collect::<Result<_>>()?;
        let pids = group.dir(if group.is_unified() { "" } else { "pids" });
        // Absent where the controller is not on.
        let pids = pids
            .and_then(|dir| Some([File::open(dir.join("pids.current")).ok()?, File::open(dir.join("pids.max")).ok()?]));
        Ok(Self { targets, files, pids })
    }

    /// Moves this process in. The kernel refuses that to none, so one that is too
    /// many finds out itself.
    fn enter(&self) -> std::io::Result<()> {
        self.files.iter().try_for_each(|mut file| file.write_all(b"0"))?;
        match self.numbers() {
            [Some(current), Some(most)] if current > most => Err(std::io::Error::other(TOO_MANY)),
            _ => Ok(()),
        }
    }

    /// How many processes are in the group and may be, if there is such a limit.
    fn numbers(&self) -> [Option<u64>; 2] {
        let read = |mut file: &File| {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            // `max` is no number.
            text.trim().parse().ok()
        };
        self.pids.as_ref().map_or([None; 2], |[current, most]| [read(current), read(most)])
    }

    /// Makes a process that is in the group from its begin, if the kernel can do that.
    fn clone_into(&self, flags: CloneFlags) -> Result<Option<Cloned>> {
        for target in &self.targets {
            match sys::clone_process(flags, Some(target.as_fd())) {
                Ok(cloned) => return Ok(Some(cloned)),
                // A limit of processes. To make it elsewhere and move it in is subject to none.
                Err(Errno::EAGAIN) => {
                    return match self.numbers() {
                        [Some(current), Some(most)] if current >= most => Err(Error::message(TOO_MANY)),
                        // One above the container's.
                        _ => Err(Errno::EAGAIN).context(|| "make the container's process: a limit of processes"),
                    };
                }
                // An older kernel, or a group with groups below it that have controllers.
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// Makes a process that runs `work`, in its groups already where the kernel can
/// do that at once, which `work` is told.
fn spawn(
    flags: CloneFlags,
    entry: &Entry,
    work: impl FnOnce(&OwnedFd, bool) -> std::result::Result<Infallible, String>,
) -> Result<Made> {
    let (report, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "pipe")?;
    let at_once = entry.clone_into(flags)?;
    let entered = at_once.is_some();
    let cloned = at_once.map_or_else(|| sys::clone_process(flags, None), Ok);
    match cloned.context(|| "make the container's process")? {
        Cloned::Child => {
            let text = match work(&writer, entered) {
                Ok(never) => match never {},
                Err(text) => text,
            };
            // More than a pipe holds would wait for a reader. Who would read it may be gone.
            _ = nix::unistd::write(&writer, &text.as_bytes()[..text.len().min(MOST)]);
            sys::exit_now(1)
        }
        Cloned::Parent(pid) => Ok(Made { pid: Pid::from_raw(pid), report: File::from(report) }),
    }
}

impl Made {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits until all but its program is there.
    pub fn ready(&mut self) -> Result<()> {
        let mut first = [0];
        let read = self.report.read(&mut first).context(|| "read the report")?;
        if read == 1 && first[0] == READY {
            return Ok(());
        }
        let rest = self.text()?;
        let text = format!("{}{rest}", String::from_utf8_lossy(&first[..read]));
        // It ends of itself.
        let status = waitpid(self.pid, None);
        if !text.is_empty() {
            return Err(Error::message(text));
        }
        Err(Error::message(match status {
            Ok(status) => format!("the container's process ended before its program began: {status:?}"),
            Err(errno) => format!("the container's process ended before its program began: {errno}"),
        }))
    }

    /// Waits until its program runs, which was [`Self::ready`].
    pub fn running(mut self) -> Result<i32> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(self.pid.as_raw());
        }
        _ = waitpid(self.pid, None);
        Err(Error::message(text))
    }

    fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        (&mut self.report).take(MOST as u64).read_to_end(&mut bytes).context(|| "read the report")?;
        Ok(String::from_utf8_lossy(&bytes).replace('\n', " "))
    }
}
