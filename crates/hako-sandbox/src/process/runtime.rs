//! Calls of the `hako-runtime` program.

use super::{
    ProcessConfig,
    reaper::{Exit, Reaper, Watch},
    standby::{Standby, Waiter},
};
use hako_model::{Error, Result};
use nix::fcntl::OFlag;
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// How much of an error text is read.
const MAX_TEXT: u64 = 64 << 10;

/// The runtime and its state folder.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) program: Program,
    pub(super) root: PathBuf,
    pub(super) reaper: Reaper,
    /// The caller mounts root filesystems itself.
    pub(super) rootfs_mounted: bool,
    /// Where some may wait.
    standby: Option<Standby>,
}

/// The program's file.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// It in a mount that is read-only, if the kernel gives one. From anywhere
    /// else it would execute itself a second time for that.
    sealed: OnceLock<Option<OwnedFd>>,
}

impl Program {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, sealed: OnceLock::new() }
    }

    pub(super) fn command(&self) -> Command {
        let sealed = self.sealed.get_or_init(|| hako_os::mount::sealed(&self.path).ok());
        let mut command = match sealed {
            Some(fd) => Command::new(format!("/proc/self/fd/{}", fd.as_raw_fd())),
            None => Command::new(&self.path),
        };
        command.arg0(&self.path);
        command
    }
}

/// The child's ends of a process's streams; what is absent is `/dev/null`.
#[derive(Debug, Default)]
pub(super) struct ChildEnds {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

fn or_null(fd: Option<OwnedFd>) -> Stdio {
    fd.map_or_else(Stdio::null, Stdio::from)
}

impl Runtime {
    pub(super) fn new(config: ProcessConfig, reaper: Reaper) -> Self {
        let ProcessConfig { runtime, runtime_root: root, rootfs_mounted, standby, dir: _ } = config;
        Self { program: Program::new(runtime), root, reaper, rootfs_mounted, standby }
    }

    /// One that waits for a command.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        self.standby.as_ref()?.take()
    }

    /// Runs one verb to its end. Its error text is read from `errors`, which is
    /// the other end of `ends.stderr`, or from a pipe of its own if that is absent.
    pub(super) async fn run(&self, args: &[&OsStr], mut ends: ChildEnds, errors: Option<&OwnedFd>) -> Result<()> {
        let own = match errors {
            Some(_) => None,
            None => {
                let (read, write) = pipe()?;
                ends.stderr = Some(write);
                Some(read)
            }
        };
        let verb = args.first().map(|arg| arg.to_string_lossy()).unwrap_or_default();
        let watch = self
            .call(args, ends)
            .map_err(|err| Error::internal(format!("start {}: {err}", self.program.path.display())))?;
        let exit = watch.wait().await?;
        if exit.code == 0 {
            return Ok(());
        }
        Err(self.failure(&verb, exit, errors.or(own.as_ref())))
    }

    /// Why it has ended so: its last words in `errors`, or at least how.
    pub(super) fn failure(&self, verb: &str, exit: Exit, errors: Option<&OwnedFd>) -> Error {
        let text = errors.and_then(|fd| last_line(fd).ok()).unwrap_or_default();
        if text.is_empty() {
            return Error::internal(format!("hako-runtime {verb} ended with exit code {}", exit.code));
        }
        Error::internal(text)
    }

    /// As [`Self::spawn`], by one that waits where someone waits for it.
    fn call(&self, args: &[&OsStr], ends: ChildEnds) -> io::Result<Watch> {
        let hurried = args.first().is_some_and(|verb| *verb == "exec");
        if let Some(waiter) = hurried.then(|| self.waiter()).flatten()
            && let Ok((_, watch)) = waiter.become_command(&self.root, args, &ends)
        {
            return Ok(watch);
        }
        self.spawn(args, ends)
    }

    /// Kept apart, so that the command and with it the child's ends are closed
    /// on this side before anyone waits.
    pub(super) fn spawn(&self, args: &[&OsStr], ends: ChildEnds) -> io::Result<Watch> {
        let mut command = self.program.command();
        command.arg("--root").arg(&self.root).args(args);
        command.stdin(or_null(ends.stdin)).stdout(or_null(ends.stdout)).stderr(or_null(ends.stderr));
        self.reaper.spawn(&mut command)
    }
}

/// A pipe whose ends no child inherits by accident: (read, write).
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// The last line in the pipe that says something. Does not wait for more.
fn last_line(fd: &OwnedFd) -> io::Result<String> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut text = Vec::new();
    // The end of the pipe or an empty one: either way this is all there is.
    let _ = File::from(fd.try_clone()?).take(MAX_TEXT).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
}

/// The pid that the runtime wrote.
pub(super) fn read_pid(path: &Path) -> Result<i32> {
    let pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    // The file has served; a leftover goes with its folder.
    let _ = std::fs::remove_file(path);
    pid.filter(|pid| *pid > 0).ok_or_else(|| Error::internal("hako-runtime wrote no pid"))
}
