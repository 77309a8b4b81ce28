//! Where the container and its execs stand. A phase owns what exists in it.
//!
//! ```text
//!   Empty ─► Creating ─► Created ─► Starting ─► Running ◄─► Paused
//!     ▲         │           │           │          │           │
//!     └─────────┘           └───────────┴────┬─────┴───────────┘
//!                                            ▼ (ends)
//!                             Deleting ◄── Exited
//!                                 └─► Deleted
//!   Empty ─► Mounting ─► Mounted (files alone) ─► Unmounting ─► Deleted
//! ```

use super::{
    lifecycle::ExitSender,
    request::{ExitWatch, Status},
};
use crate::stdio::Streams;
use hako_model::{Error, ExitDetails, Result};
use std::sync::Arc;

/// A process that exists, or has existed.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) streams: Arc<Streams>,
    pub(super) exit: ExitWatch,
}

/// The container, by its first process.
pub(super) enum Phase {
    Empty,
    Creating,
    Created(Process),
    Starting(Process),
    Running(Process),
    Paused(Process),
    Exited(Process, ExitDetails),
    Deleting(Process, Option<ExitDetails>),
    Mounting,
    Mounted,
    Unmounting,
    Deleted,
}

/// A further process. Its pid is known once it runs.
pub(super) enum Exec {
    Registered(Process, ExitSender),
    Starting(Process, ExitSender),
    Running(Process),
    Exited(Process, ExitDetails),
    Failed,
}

/// What is asked, as far as the phase decides on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Start,
    /// Exec, pids, figures, limits: what needs a container that is alive.
    Use,
    Kill,
    Pause,
    Resume,
    Mount,
    /// What needs no more than the root filesystem.
    Files,
    Delete,
    Shutdown,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Use => "use",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Mount => "mount",
            Self::Files => "use the files of",
            Self::Delete => "delete",
            Self::Shutdown => "shut down",
        }
    }
}

impl Phase {
    fn word(&self) -> &'static str {
        match self {
            Self::Empty => "not created",
            Self::Creating => "being created",
            Self::Created(_) => "created",
            Self::Starting(_) => "being started",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(..) => "stopped",
            Self::Deleting(..) => "being deleted",
            Self::Mounting => "being mounted",
            Self::Mounted => "mounted",
            Self::Unmounting => "being unmounted",
            Self::Deleted => "deleted",
        }
    }

    /// Makes the next phase out of this one.
    pub(super) fn change(&mut self, next: impl FnOnce(Self) -> Self) {
        // What stands here meanwhile is never seen: `next` cannot await.
        let now = std::mem::replace(self, Self::Deleted);
        *self = next(now);
    }

    /// Whether `verb` may be done now.
    pub(super) fn admit(&self, verb: Verb) -> Result<()> {
        use Verb::{Create, Delete, Files, Kill, Mount, Pause, Resume, Shutdown, Start, Use};
        let admitted = match self {
            Self::Empty => matches!(verb, Create | Mount | Shutdown),
            Self::Creating | Self::Deleting(..) | Self::Mounting | Self::Unmounting => false,
            Self::Created(_) => matches!(verb, Start | Use | Files | Kill | Delete),
            Self::Starting(_) => matches!(verb, Use | Files | Kill),
            Self::Running(_) => matches!(verb, Use | Files | Kill | Pause),
            Self::Paused(_) => matches!(verb, Use | Files | Kill | Resume),
            Self::Exited(..) => matches!(verb, Files | Delete),
            Self::Mounted => matches!(verb, Files | Delete),
            Self::Deleted => matches!(verb, Shutdown),
        };
        if admitted {
            return Ok(());
        }
        if verb == Kill && matches!(self, Self::Exited(..)) {
            return Err(Error::not_found("process already finished"));
        }
        let text = format!("cannot {} a container that is {}", verb.word(), self.word());
        match self {
            Self::Empty | Self::Deleted if verb != Create => Err(Error::not_found(text)),
            _ => Err(Error::conflict(text)),
        }
    }

    /// The process, where there is one.
    pub(super) fn process(&self) -> Option<&Process> {
        match self {
            Self::Empty | Self::Creating | Self::Mounting | Self::Mounted | Self::Unmounting | Self::Deleted => None,
            Self::Created(process)
            | Self::Starting(process)
            | Self::Running(process)
            | Self::Paused(process)
            | Self::Exited(process, _)
            | Self::Deleting(process, _) => Some(process),
        }
    }

    /// containerd's word and how it ended, where there is a process.
    pub(super) fn status(&self) -> Option<(Status, Option<ExitDetails>)> {
        match self {
            Self::Empty | Self::Creating | Self::Mounting | Self::Mounted | Self::Unmounting | Self::Deleted => None,
            Self::Created(_) | Self::Starting(_) => Some((Status::Created, None)),
            Self::Running(_) => Some((Status::Running, None)),
            Self::Paused(_) => Some((Status::Paused, None)),
            Self::Exited(_, details) => Some((Status::Stopped, Some(details.clone()))),
            Self::Deleting(_, details) => Some((Status::Stopped, details.clone())),
        }
    }
}

impl Exec {
    /// The process, unless it never came to be.
    pub(super) fn process(&self) -> Result<&Process> {
        match self {
            Self::Registered(process, _)
            | Self::Starting(process, _)
            | Self::Running(process)
            | Self::Exited(process, _) => Ok(process),
            Self::Failed => Err(Error::not_found("exec could not be started")),
        }
    }

    /// The running process; what is asked needs one.
    pub(super) fn running(&self) -> Result<&Process> {
        match self {
            Self::Starting(process, _) | Self::Running(process) => Ok(process),
            Self::Registered(..) => Err(Error::conflict("exec has not been started")),
            Self::Exited(..) => Err(Error::not_found("process already finished")),
            Self::Failed => Err(Error::not_found("exec could not be started")),
        }
    }

    /// As [`Phase::status`].
    pub(super) fn status(&self) -> (Status, Option<ExitDetails>) {
        match self {
            Self::Registered(..) | Self::Starting(..) => (Status::Created, None),
            Self::Running(_) => (Status::Running, None),
            Self::Exited(_, details) => (Status::Stopped, Some(details.clone())),
            Self::Failed => (Status::Stopped, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_model::ErrorKind;

    #[test]
    fn an_empty_shim_creates_mounts_or_ends() {
        for verb in [Verb::Start, Verb::Use, Verb::Kill, Verb::Pause, Verb::Resume, Verb::Files, Verb::Delete] {
            assert_eq!(Phase::Empty.admit(verb).unwrap_err().kind, ErrorKind::NotFound, "{verb:?}");
        }
        assert!(Phase::Empty.admit(Verb::Create).is_ok());
        assert!(Phase::Empty.admit(Verb::Mount).is_ok());
        assert!(Phase::Empty.admit(Verb::Shutdown).is_ok());
    }

    #[test]
    fn a_second_create_is_a_conflict() {
        for phase in [Phase::Creating, Phase::Mounting, Phase::Mounted, Phase::Deleted] {
            assert_eq!(phase.admit(Verb::Create).unwrap_err().kind, ErrorKind::Conflict);
        }
    }
}
