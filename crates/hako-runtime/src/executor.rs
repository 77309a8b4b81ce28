//! The last of what a container's process does inside: `prepare`, after the
//! mounts are made and the user is set, then, once the container is started,
//! `run`. Seccomp is loaded just before execve; for that a few capabilities are
//! kept, which are given up here.

use crate::error::errno_text;
use crate::lookup;
use crate::privileges::{self, Sets};
use crate::seccomp::Filter;
use nix::errno::Errno;
use nix::sys::resource::Resource;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::Uid;
use std::cell::OnceCell;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A process as it shall be.
#[derive(Debug, Clone)]
pub struct Process {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, in its order.
    pub env: Vec<String>,
    /// Working directory, made if missing.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The mask of new files' permissions, if not the usual one.
    pub umask: Option<u32>,
    /// Its final capabilities.
    pub caps: Sets,
    /// Those that it has until its program runs.
    pub working: Sets,
    /// Whether execve may give no privileges.
    pub no_new_privileges: bool,
    /// Rows and columns of its terminal.
    pub console_size: Option<(u16, u16)>,
    /// Resource, soft and hard limit.
    pub rlimits: Vec<(Resource, u64, u64)>,
    /// Its AppArmor profile.
    pub apparmor: Option<String>,
}

/// Whether the process is the container's first or joins a running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its failure after the start is its own: stderr and exit status 255.
    First,
    /// Its failure is the caller's, who still waits.
    Joining,
}

/// Runs one process.
pub struct ProcessExecutor {
    process: Process,
    filter: Option<Filter>,
    kind: Kind,
    path: OnceCell<CString>,
}

impl ProcessExecutor {
    /// An executor for `process` under `filter`.
    pub fn new(process: Process, filter: Option<Filter>, kind: Kind) -> Self {
        Self { process, filter, kind, path: OnceCell::new() }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Everything that can fail before the start: the directory, the program's place.
    pub fn prepare(&self) -> Result<(), String> {
        enter_directory(&self.process.cwd)?;
        stay_inside(&self.process.cwd)?;
        self.own_stdio();
        if let Some((rows, cols)) = self.process.console_size {
            _ = crate::sys::set_window_size(std::io::stdin().as_fd(), rows, cols);
        }
        privileges::act_as(&self.process.caps).map_err(|err| format!("drop capabilities: {err}"))?;
        let name = self.process.args.first().map_or("", String::as_str);
        let path = lookup::executable(name, search_path(&self.process.env))?;
        _ = self.path.set(c_string(path.as_os_str().as_bytes())?);
        Ok(())
    }

    /// Gives stdio to the user, so that it can open `/dev/stdout` and its terminal.
    fn own_stdio(&self) {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            let Ok(stat) = fstat(fd) else { continue };
            let null = nix::sys::stat::makedev(1, 3);
            if stat.st_uid != self.process.uid && stat.st_rdev != null {
                // Read-only and foreign filesystems refuse; then it stays as it is.
                _ = nix::unistd::fchown(fd, Some(Uid::from_raw(self.process.uid)), None);
            }
        }
    }

    /// Runs the program. A first process's failure is its own, and ends it.
    pub fn run(&self) -> Result<Infallible, String> {
        self.execute().inspect_err(|text| {
            if self.kind == Kind::First {
                eprintln!("{text}");
                std::process::exit(255);
            }
        })
    }

    fn execute(&self) -> Result<Infallible, String> {
        let path = self.path.get().ok_or("the executable was not looked up")?;
        let args = c_strings(&self.process.args)?;
        let env = c_strings(&self.process.env)?;
        crate::sys::reset_signals();
        self.confine()?;
        match nix::unistd::execve(path, &args, &env) {
            Ok(never) => Ok(never),
            Err(errno) => Err(format!("exec {}: {}", path.to_string_lossy(), errno_text(errno))),
        }
    }

    fn confine(&self) -> Result<(), String> {
        let finish = || privileges::become_final(&self.process.caps).map_err(|err| format!("drop capabilities: {err}"));
        let Some(filter) = &self.filter else { return finish() };
        let load = || filter.load().map_err(|errno| format!("load seccomp filter: {}", errno_text(errno)));
        if self.process.no_new_privileges {
            // Anyone may load then, and the filter need not allow capset.
            finish()?;
            return load();
        }
        privileges::act_as_runtime().map_err(|err| format!("raise capabilities: {err}"))?;
        load()?;
        finish()
    }
}

/// Enters the working directory, making what is missing of it, owned by root.
fn enter_directory(cwd: &Path) -> Result<(), String> {
    if nix::unistd::chdir(cwd) == Err(Errno::ENOENT) {
        make_directories(cwd)?;
    }
    let failed = |reason: String| format!("chdir to cwd (\"{}\") set in config.json failed: {reason}", cwd.display());
    nix::unistd::chdir(cwd).map_err(|errno| failed(errno_text(errno)))
}

/// A descriptor of the host is still open in this process, and `/proc/self/fd`
/// of the image's choosing may lead to it: the kernel knows no path then.
fn stay_inside(cwd: &Path) -> Result<(), String> {
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(format!("cwd (\"{}\") is outside of the container", cwd.display())),
    }
}

fn make_directories(path: &Path) -> Result<(), String> {
    let mut made = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => made.push(name),
            Component::ParentDir => _ = made.pop(),
            _ => continue,
        }
        match nix::unistd::mkdir(&made, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                let root = Some(Uid::from_raw(0));
                _ = nix::unistd::chown(&made, root, Some(nix::unistd::Gid::from_raw(0)));
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(format!("mkdir {}: {}", made.display(), errno_text(errno))),
        }
    }
    Ok(())
}

fn search_path(env: &[String]) -> &str {
    env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("")
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| c_string(text.as_bytes())).collect()
}

fn c_string(bytes: &[u8]) -> Result<CString, String> {
    CString::new(bytes).map_err(|_| format!("exec: {:?}: invalid argument", String::from_utf8_lossy(bytes)))
}
