//! Starts the engine when nobody has: the first `hako` as root on a machine.
//!
//! Two clients at once end with one engine: the one that holds the lock looks
//! again before it starts anything, and keeps the lock until the engine answers.

use super::Host;
use crate::error::{Error, Result, reason};
use crate::sys;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a new engine may take until it answers.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often its socket is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(4);

/// The engine that belongs to the default socket, and how it is started.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// `HAKO_DATA_ROOT`, if it says anything.
    data_root: Option<PathBuf>,
    /// `HAKO_EXEC_ROOT`, if it says anything.
    exec_root: Option<PathBuf>,
}

impl Engine {
    /// Reads `HAKO_DATA_ROOT` and `HAKO_EXEC_ROOT`.
    pub(crate) fn from_env() -> Self {
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self { data_root: var("HAKO_DATA_ROOT"), exec_root: var("HAKO_EXEC_ROOT") }
    }

    /// The folder of sockets and pid file.
    pub(crate) fn exec_root(&self) -> &Path {
        self.exec_root.as_deref().unwrap_or(Path::new("/run/hako"))
    }

    /// The default socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.exec_root().join("hako.sock")
    }

    /// Whether `host` is the default socket, so that the engine may be started for it.
    pub(crate) fn owns(&self, host: &Host) -> bool {
        *host == Host::Unix(self.socket())
    }

    /// Whether something answers at the default socket.
    pub(crate) fn answers(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }

    fn log_path(&self) -> PathBuf {
        match &self.exec_root {
            Some(root) => root.join("hakod.log"),
            None => PathBuf::from("/var/log/hako/hakod.log"),
        }
    }

    /// Starts the engine and waits until it answers; the answer says whether this
    /// call started it.
    pub(crate) async fn start(&self) -> Result<bool> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::msg(format!(
                "no engine answers at unix://{}, and only root can start one: run `sudo hako system start`, or name another engine with -H",
                self.socket().display()
            )));
        }
        fs::create_dir_all(self.exec_root()).map_err(|err| path_error(self.exec_root(), &err))?;
        let _lock = self.lock()?;
        if self.answers() {
            return Ok(false);
        }
        eprintln!("Starting the engine (hakod) …");
        let log = self.log_path();
        let (mut file, mut child) = self.spawn(&log)?;
        let start = file.stream_position().unwrap_or(0);
        self.wait(&mut child, &log, &mut file, start).await?;
        Ok(true)
    }

    /// Holds `start.lock`; blocks while another client starts the engine.
    fn lock(&self) -> Result<Flock<File>> {
        let path = self.exec_root().join("start.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|err| path_error(&path, &err))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| path_error(&path, &errno.into()))
    }

    fn spawn(&self, log: &Path) -> Result<(File, Child)> {
        if let Some(parent) = log.parent() {
            fs::create_dir_all(parent).map_err(|err| path_error(parent, &err))?;
        }
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(log);
        let mut file = open().map_err(|err| path_error(log, &err))?;
        file.seek(SeekFrom::End(0))?;
        let program = program_beside("hakod");
        let mut command = Command::new(&program);
        if let Some(root) = &self.data_root {
            command.arg("--data-root").arg(root);
        }
        if let Some(root) = &self.exec_root {
            command.arg("--exec-root").arg(root);
            command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?).current_dir("/");
        sys::new_session(&mut command);
        let child = command
            .spawn()
            .map_err(|err| Error::msg(format!("cannot start {}: {}", program.display(), reason(&err))))?;
        Ok((file, child))
    }

    async fn wait(&self, child: &mut Child, log: &Path, file: &mut File, start: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            if self.answers() {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Error::msg(format!(
                    "the engine (hakod) ended at its start, {status}:\n{}(log: {})",
                    tail(file, start),
                    log.display()
                )));
            }
            if began.elapsed() > DEADLINE {
                let waited = DEADLINE.as_secs();
                return Err(Error::msg(format!(
                    "the engine (hakod) does not answer after {waited} seconds; see {}",
                    log.display()
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn path_error(path: &Path, err: &std::io::Error) -> Error {
    Error::msg(format!("{}: {}", path.display(), reason(err)))
}

/// The last lines that were written to `file` since `start`.
fn tail(file: &mut File, start: u64) -> String {
    let mut text = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_ok() {
        let _ = file.take(64 << 10).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].iter().map(|line| format!("  {line}\n")).collect()
}

/// The program `name` beside this one, else in `/usr/lib/hako`, else by `PATH`.
fn program_beside(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    beside
        .into_iter()
        .chain([Path::new("/usr/lib/hako").join(name)])
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}
