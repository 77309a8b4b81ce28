//! Where a container stands; each variant has what exists then. What may be
//! asked of a state, and what comes after it, is in [`super::life`].
//!
//! ```text
//!   Created ──┐ start                     its first process runs
//!             ├───────► Starting ───────────────────────────► Running ◄──► Paused
//!   Exited ───┘            │  ▲                                 │            │
//!      ▲ ▲                 │  │ back-off is over                └───┬────────┘
//!      │ └──── failed ─────┘  │                                     │ ends
//!      │                  Restarting ◄───── the policy wants it ────┤
//!      │                      │ stop, kill, rm -f                   │
//!      └──────────────────────┴──────────── it does not ────────────┘
//!
//!   Created, Exited, Dead ─► Removing ─► gone, or Dead if something cannot be removed
//! ```

use hako_model::ExitDetails;
use serde::{Deserialize, Serialize};

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Never ran.
    Created {
        /// Why the last start failed.
        failure: Option<Failure>,
    },
    /// A shim is being started, or was when the engine died.
    Starting {
        /// Where it stood before.
        before: Before,
    },
    /// Runs.
    Running(Run),
    /// Frozen.
    Paused(Run),
    /// Ended, and is started again when its back-off is over.
    Restarting(Backoff),
    /// Ended.
    Exited(Ended),
    /// Being removed.
    Removing {
        /// How it was left.
        #[serde(default)]
        before: Rest,
    },
    /// Its removal has failed; it may be tried again.
    Dead {
        /// How it was left.
        before: Rest,
        /// What could not be removed.
        error: String,
    },
}

/// Where a container stood that is being started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// It rested, and somebody starts it.
    Rest(Rest),
    /// It waited, and its restart policy starts it.
    Backoff(Backoff),
}

/// A container that does not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// Never ran.
    Created {
        /// Why the last start failed.
        failure: Option<Failure>,
    },
    /// Ended.
    Exited(Ended),
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The first process, as the wall's kernel numbers it.
    pub pid: i64,
    /// When it started.
    pub started_at: String,
    /// When the run before ended; Docker goes on showing it.
    #[serde(default)]
    pub finished_before: Option<String>,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When it started.
    pub started_at: String,
    /// How it ended.
    pub exit: ExitDetails,
}

/// A run that is over, and the time until the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// The run.
    pub ended: Ended,
    /// From the run's end to the next start.
    pub delay_ms: u64,
}

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// 127, 126 or 128.
    pub exit_code: i32,
    /// In Docker's words.
    pub error: String,
}

impl Default for Rest {
    fn default() -> Self {
        Self::Created { failure: None }
    }
}

impl Rest {
    /// The run that is over, if there was one.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Created { .. } => None,
            Self::Exited(ended) => Some(ended),
        }
    }
}

impl From<Rest> for State {
    fn from(rest: Rest) -> Self {
        match rest {
            Rest::Created { failure } => Self::Created { failure },
            Rest::Exited(ended) => Self::Exited(ended),
        }
    }
}

impl Before {
    /// The run that is over, if there was one.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Rest(rest) => rest.ended(),
            Self::Backoff(backoff) => Some(&backoff.ended),
        }
    }
}

impl State {
    /// What Docker calls running: also frozen, and also between two runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self {
            Self::Running(_)
            | Self::Paused(_)
            | Self::Restarting(_)
            | Self::Starting { before: Before::Backoff(_) } => true,
            Self::Created { .. }
            | Self::Starting { before: Before::Rest(_) }
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => false,
        }
    }

    /// Whether a start is under way.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        match self {
            Self::Starting { .. } => true,
            Self::Created { .. }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Restarting(_)
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => false,
        }
    }

    /// The present run.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Paused(run) => Some(run),
            Self::Created { .. }
            | Self::Starting { .. }
            | Self::Restarting(_)
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => None,
        }
    }

    /// The end of the last run, where there is no present one.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Exited(ended) | Self::Restarting(Backoff { ended, .. }) => Some(ended),
            Self::Starting { before } => before.ended(),
            Self::Removing { before } | Self::Dead { before, .. } => before.ended(),
            Self::Created { .. } | Self::Running(_) | Self::Paused(_) => None,
        }
    }

    /// The start that failed last, where the container never ran.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Created { failure }
            | Self::Starting { before: Before::Rest(Rest::Created { failure }) }
            | Self::Removing { before: Rest::Created { failure } }
            | Self::Dead { before: Rest::Created { failure }, .. } => failure.as_ref(),
            Self::Starting { before: Before::Rest(Rest::Exited(_)) | Before::Backoff(_) }
            | Self::Removing { before: Rest::Exited(_) }
            | Self::Dead { before: Rest::Exited(_), .. }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Restarting(_)
            | Self::Exited(_) => None,
        }
    }
}
