//! The manager of one container's groups.

use crate::{devices, limits, stats::Stats};
use hako_os::cgroup::{Cgroup, unified_root};
use nix::unistd::{Pid, getpid};
use oci_spec::runtime::LinuxResources;
use std::{
    io,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// Where groups are mounted.
pub const DEFAULT_CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// How long a group may take to freeze.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// Which versions a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupSetup {
    /// Version 1, and version 2 for names alone.
    Hybrid,
    /// Version 1.
    Legacy,
    /// Version 2.
    Unified,
}

/// It cannot be found out.
#[derive(thiserror::Error, Debug)]
pub enum GetCgroupSetupError {
    /// Nothing is mounted where all have it.
    #[error("non default cgroup root not supported")]
    NonDefault,
}

/// Which versions this machine has.
///
/// # Errors
/// No groups are mounted.
pub fn get_cgroup_setup() -> Result<CgroupSetup, GetCgroupSetupError> {
    if !Path::new(DEFAULT_CGROUP_ROOT).exists() {
        return Err(GetCgroupSetupError::NonDefault);
    }
    let found = |unified| hako_os::cgroup::mount_points(unified).is_ok_and(|mounts| !mounts.is_empty());
    Ok(match unified_root() {
        Some(_) => CgroupSetup::Unified,
        None if found(true) => CgroupSetup::Hybrid,
        None => CgroupSetup::Legacy,
    })
}

/// Whether processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// As it is.
    Undefined,
    /// They do not.
    Frozen,
    /// They do.
    Thawed,
}

/// What is to be set on a group.
#[derive(Clone, Debug)]
pub struct ControllerOpt<'a> {
    /// `linux.resources`.
    pub resources: &'a LinuxResources,
    /// The runtime's.
    pub disable_oom_killer: bool,
    /// The runtime's.
    pub oom_score_adj: Option<i32>,
    /// The freezer.
    pub freezer_state: Option<FreezerState>,
}

/// Which groups.
#[derive(Clone, Debug)]
pub struct CgroupConfig {
    /// OCI's `cgroupsPath`.
    pub cgroup_path: PathBuf,
    /// systemd's groups, which nobody asks for here.
    pub systemd_cgroup: bool,
    /// The container.
    pub container_name: String,
}

/// There is no manager.
#[derive(thiserror::Error, Debug)]
pub enum CreateCgroupSetupError {
    /// Nothing is mounted where all have it.
    #[error("non default cgroup root not supported")]
    NonDefault,
    /// The kernel's.
    #[error("find cgroup {0}: {1}")]
    Find(PathBuf, io::Error),
}

/// What went wrong with a group.
#[derive(thiserror::Error, Debug)]
pub enum AnyManagerError {
    /// The kernel's.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// The runtime does it itself.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
}

type Outcome<T> = Result<T, AnyManagerError>;

/// What libcontainer asks of a container's groups.
pub trait CgroupManager {
    /// What goes wrong.
    type Error;
    /// Moves a process in.
    ///
    /// # Errors
    /// The kernel's.
    fn add_task(&self, pid: Pid) -> Result<(), Self::Error>;
    /// Sets what the runtime has left.
    ///
    /// # Errors
    /// The kernel's.
    fn apply(&self, options: &ControllerOpt<'_>) -> Result<(), Self::Error>;
    /// Removes them: the runtime does.
    ///
    /// # Errors
    /// None.
    fn remove(&self) -> Result<(), Self::Error>;
    /// Freezes or thaws all of it, and waits for that.
    ///
    /// # Errors
    /// The kernel's, or that it takes too long.
    fn freeze(&self, state: FreezerState) -> Result<(), Self::Error>;
    /// The runtime's.
    ///
    /// # Errors
    /// Always.
    fn stats(&self) -> Result<Stats, Self::Error>;
    /// The processes.
    ///
    /// # Errors
    /// The kernel's.
    fn get_all_pids(&self) -> Result<Vec<Pid>, Self::Error>;
}

/// The groups of one container, in every hierarchy where it has one.
#[derive(Debug)]
pub struct AnyCgroupManager(Cgroup);

impl AnyCgroupManager {
    /// The same: nothing depends on it here.
    #[must_use]
    pub fn with_rootless(self, _rootless: bool) -> Self {
        self
    }
}

/// The groups that `config` names, which are there.
///
/// # Errors
/// The mount table cannot be read.
pub fn create_cgroup_manager(config: CgroupConfig) -> Result<AnyCgroupManager, CreateCgroupSetupError> {
    let path = config.cgroup_path;
    let found = Cgroup::at(&path.to_string_lossy());
    found.map(AnyCgroupManager).map_err(|err| CreateCgroupSetupError::Find(path, err))
}

impl CgroupManager for AnyCgroupManager {
    type Error = AnyManagerError;

    fn add_task(&self, pid: Pid) -> Outcome<()> {
        if pid != getpid() {
            return Err(AnyManagerError::Unsupported("moving another process into a cgroup"));
        }
        self.0.enter().map_err(|err| AnyManagerError::Io("enter the cgroup", err))
    }

    fn apply(&self, options: &ControllerOpt<'_>) -> Outcome<()> {
        if let Some(dir) = self.0.dir("devices").filter(|_| !self.0.is_unified()) {
            devices::apply(dir, options.resources).map_err(|err| AnyManagerError::Io("rules for devices", err))?;
        }
        limits::apply(&self.0, options.resources).map_err(|err| AnyManagerError::Io("limits", err))?;
        match options.freezer_state {
            Some(state) => self.freeze(state),
            None => Ok(()),
        }
    }

    fn remove(&self) -> Outcome<()> {
        Ok(())
    }

    fn freeze(&self, state: FreezerState) -> Outcome<()> {
        let frozen = match state {
            FreezerState::Undefined => return Ok(()),
            FreezerState::Frozen => true,
            FreezerState::Thawed => false,
        };
        freeze(&self.0, frozen).map_err(|err| AnyManagerError::Io("freezer", err))
    }

    fn stats(&self) -> Outcome<Stats> {
        Err(AnyManagerError::Unsupported("statistics by libcontainer"))
    }

    fn get_all_pids(&self) -> Outcome<Vec<Pid>> {
        let pids = self.0.pids().map_err(|err| AnyManagerError::Io("processes", err))?;
        Ok(pids.unwrap_or_default().into_iter().map(Pid::from_raw).collect())
    }
}

/// Asked for anew each time: version 1 gives up when a fork comes in between.
fn freeze(group: &Cgroup, frozen: bool) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        group.set_frozen(frozen)?;
        if group.is_frozen()? == frozen {
            return Ok(());
        }
        if begin.elapsed() > FREEZE_LIMIT {
            // Half frozen is worse than running.
            let _ = group.set_frozen(false);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the container does not freeze"));
        }
        sleep(Duration::from_millis(1));
    }
}
