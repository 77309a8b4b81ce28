//! A container's folder under `--root`.
//!
//! ```text
//! <root>/<id>/
//!   record.json          what libcontainer does not keep; this module's
//!   seccomp.bpf          the filter, for processes that join
//!   bundle/config.json   the adapted specification, libcontainer's bundle
//!   <id>/                libcontainer's own folder
//! ```

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::seccomp::Filter;
use hako_os::process::start_time;
use libcontainer::container::{Container, ContainerStatus};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What libcontainer does not keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The bundle as the caller named it.
    pub bundle: PathBuf,
    /// OCI's `cgroupsPath`.
    pub cgroup: String,
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
    /// libcontainer's view of it, with its status as it is now.
    pub container: Container,
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
        let bundle = self.bundle();
        if let Some(root) = self.path.parent() {
            std::fs::create_dir_all(root).context(|| format!("make {}", root.display()))?;
        }
        match std::fs::create_dir(&self.path) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::message(format!("container with id exists: {}", self.id)));
            }
            made => made.context(|| format!("make {}", self.path.display()))?,
        }
        std::fs::create_dir(&bundle).context(|| format!("make {}", bundle.display()))
    }

    /// libcontainer's bundle.
    pub fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
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
        let mut container = Container::load(self.path.join(&self.id)).map_err(|_| missing())?;
        if let (Some(pid), Some(start)) = (record.pid, record.start_time)
            && start_time(pid) != Some(start)
        {
            container.set_status(ContainerStatus::Stopped);
        }
        Ok(Existing { folder: self, record, container })
    }
}

impl Existing {
    /// OCI's word for the status.
    pub fn status(&self) -> &'static str {
        match self.container.status() {
            ContainerStatus::Creating => "creating",
            ContainerStatus::Created => "created",
            ContainerStatus::Running => "running",
            ContainerStatus::Paused => "paused",
            ContainerStatus::Stopped => "stopped",
        }
    }

    /// The first process, if it lives.
    pub fn live_pid(&self) -> Option<i32> {
        self.record.pid.filter(|_| self.container.status() != ContainerStatus::Stopped)
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
