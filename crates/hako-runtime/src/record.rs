//! A container's folder under `--root`.
//!
//! ```text
//! <root>/<id>/
//!   record.json          what is known of it
//!   seccomp.bpf          the filter, for processes that join
//!   start.sock           where its process waits for the word; gone once it is said
//! ```

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::seccomp::Filter;
use crate::sys;
use hako_os::process::start_time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const START: &str = "start.sock";

/// What is known of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The bundle as the caller named it.
    pub bundle: PathBuf,
    /// OCI's `cgroupsPath`.
    pub cgroup: String,
    /// When it was made (RFC 3339).
    #[serde(default)]
    pub created: String,
    /// OCI's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The first process, once it exists.
    pub pid: Option<i32>,
    /// When that process began, in clock ticks since boot: a pid alone may
    /// belong to another process by now.
    pub start_time: Option<u64>,
}

/// A container's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The container.
    pub id: String,
    /// `<root>/<id>`.
    pub path: PathBuf,
}

/// A container that exists.
pub struct Existing {
    /// Its folder.
    pub folder: Folder,
    /// Its record.
    pub record: Record,
}

/// OCI's word for how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Folder {
    /// The folder of `id`, which must be a plain name.
    pub fn new(root: &Path, id: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id == "." || id == ".." || !id.chars().all(plain) {
            return Err(Error::message(format!("invalid container ID format: {id}")));
        }
        Ok(Self { id: id.to_owned(), path: root.join(id) })
    }

    /// Makes it; fails if it is there.
    pub fn make(&self) -> Result<()> {
        if let Some(root) = self.path.parent() {
            std::fs::create_dir_all(root).context(|| format!("make {}", root.display()))?;
        }
        match std::fs::create_dir(&self.path) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {
                Err(Error::message(format!("container with id exists: {}", self.id)))
            }
            made => made.context(|| format!("make {}", self.path.display())),
        }
    }

    /// Where the container's process is to wait for its start.
    pub fn listen(&self) -> Result<UnixListener> {
        let dir = sys::open_directory(&self.path).context(|| format!("open {}", self.path.display()))?;
        let listener = UnixListener::bind(sys::in_directory(&dir, OsStr::new(START)));
        listener.context(|| format!("bind {}", self.path.join(START).display()))
    }

    /// Says the word to the process that waits for it.
    pub fn start(&self) -> Result<()> {
        let path = self.path.join(START);
        let said = sys::open_directory(&self.path)
            .map_err(Into::into)
            .and_then(|dir| UnixStream::connect(sys::in_directory(&dir, OsStr::new(START)))?.write_all(b"s"));
        match said {
            // Said already, by one that was killed before it removed the socket.
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => {}
            said => said.context(|| format!("start by {}", path.display()))?,
        }
        std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))
    }

    /// Removes it.
    pub fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(err) if err.kind() != ErrorKind::NotFound => {
                Err(err).context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes the record.
    pub fn save(&self, record: &Record) -> Result<()> {
        let (path, new) = (self.path.join("record.json"), self.path.join("record.json.new"));
        let bytes = serde_json::to_vec(record).context(|| "encode record")?;
        std::fs::write(&new, bytes).context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, &path).context(|| format!("write {}", path.display()))
    }

    /// Reads the record, if there is one.
    pub fn record(&self) -> Option<Record> {
        let bytes = std::fs::read(self.path.join("record.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps the filter for processes that join.
    pub fn save_filter(&self, filter: &Filter) -> Result<()> {
        let path = self.path.join("seccomp.bpf");
        std::fs::write(&path, filter.to_bytes()).context(|| format!("write {}", path.display()))
    }

    /// The filter, if the container has one.
    pub fn filter(&self) -> Result<Option<Filter>> {
        let path = self.path.join("seccomp.bpf");
        match std::fs::read(&path) {
            Ok(bytes) => Filter::from_bytes(&bytes).map(Some),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err).context(|| format!("read {}", path.display())),
        }
    }

    /// The container in it.
    pub fn open(self) -> Result<Existing> {
        let missing = || Error::message(format!("container {:?} does not exist", self.id));
        let record = self.record().ok_or_else(missing)?;
        Ok(Existing { folder: self, record })
    }
}

impl Existing {
    /// How it is now.
    pub fn status(&self) -> Status {
        let Some(pid) = self.record.pid else { return Status::Creating };
        let another = self.record.start_time.is_some_and(|start| start_time(pid) != Some(start));
        if another || !alive(pid) {
            return Status::Stopped;
        }
        if self.folder.path.join(START).exists() {
            return Status::Created;
        }
        let frozen = self.cgroup().and_then(|cgroup| cgroup.existing()).is_ok_and(|group| {
            // Without a freezer nothing is ever frozen.
            group.is_frozen().unwrap_or(false)
        });
        if frozen { Status::Paused } else { Status::Running }
    }

    /// The first process, if it lives.
    pub fn live_pid(&self) -> Option<i32> {
        let lives =
            |pid: &i32| self.record.start_time.is_none_or(|start| start_time(*pid) == Some(start)) && alive(*pid);
        self.record.pid.filter(lives)
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::new(&self.record.cgroup)
    }
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the state follows the last one.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}
