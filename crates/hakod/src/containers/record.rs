//! What the engine knows of a container, as it is kept in the store.
//!
//! ```text
//!            start              created behind its wall
//!   Created ──────► Starting ──────────────────────────► Running ◄──► Paused
//!      ▲               │ failed                             │            │
//!      └───────────────┘ (or back to Exited)                └── ended ───┴──► Exited ──► (start again)
//!   Created, Exited, and by force every other ──► Removing ──► gone
//! ```

use hako_api::{
    time,
    types::{ContainerConfig, ContainerState, HostConfig, MountPoint},
};
use hako_model::{ContainerId, ExitDetails, Isolation};
use serde::{Deserialize, Serialize};

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its identifier.
    pub id: ContainerId,
    /// Its name without the slash.
    pub name: String,
    /// When it was created.
    pub created: String,
    /// The image's id.
    pub image_id: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Merged with the image's.
    pub config: ContainerConfig,
    /// As asked for, with the defaults filled in.
    pub host: HostConfig,
    /// The wall.
    pub isolation: Isolation,
    /// Host folders and the like.
    pub mounts: Vec<MountPoint>,
    /// Where it stands.
    pub state: State,
}

/// Where a container stands; each variant has what exists then.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Never ran.
    Created {
        /// Why the last start failed.
        failure: Option<Failure>,
    },
    /// A shim is being started, or was when the engine died.
    Starting {
        /// The end of the run before, if there was one.
        before: Option<Ended>,
    },
    /// Runs.
    Running(Run),
    /// Frozen.
    Paused(Run),
    /// Ended.
    Exited(Ended),
    /// Being removed.
    Removing,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The first process, as the wall's kernel numbers it.
    pub pid: i64,
    /// When it started.
    pub started_at: String,
}

/// A run that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// When it started.
    pub started_at: String,
    /// How it ended.
    pub exit: ExitDetails,
}

/// A start that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// 127, 126 or 128.
    pub exit_code: i32,
    /// In Docker's words.
    pub error: String,
}

impl State {
    /// Running or paused.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self {
            Self::Running(_) | Self::Paused(_) => true,
            Self::Created { .. } | Self::Starting { .. } | Self::Exited(_) | Self::Removing => false,
        }
    }

    /// The word of `State.Status`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } | Self::Starting { before: None } => "created",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(_) | Self::Starting { before: Some(_) } => "exited",
            Self::Removing => "removing",
        }
    }

    /// The end of the last run, if that is where the container stands.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Exited(ended) | Self::Starting { before: Some(ended) } => Some(ended),
            Self::Created { .. }
            | Self::Starting { before: None }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Removing => None,
        }
    }

    /// The exit code that Docker shows.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Created { failure: Some(failure) } => failure.exit_code,
            Self::Exited(ended) | Self::Starting { before: Some(ended) } => ended.exit.exit_code,
            Self::Created { failure: None }
            | Self::Starting { before: None }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Removing => 0,
        }
    }

    /// The `State` of an inspect.
    #[must_use]
    pub fn shown(&self) -> ContainerState {
        let run = |run: &Run, paused: bool| ContainerState {
            running: true,
            paused,
            pid: run.pid,
            started_at: run.started_at.clone(),
            ..ContainerState::default()
        };
        let mut shown = match self {
            Self::Running(r) => run(r, false),
            Self::Paused(r) => run(r, true),
            Self::Exited(ended) | Self::Starting { before: Some(ended) } => ContainerState {
                oom_killed: ended.exit.oom_killed,
                error: ended.exit.error.clone().unwrap_or_default(),
                started_at: ended.started_at.clone(),
                finished_at: ended.exit.exited_at.clone(),
                ..ContainerState::default()
            },
            Self::Created { failure } => ContainerState {
                error: failure.as_ref().map(|f| f.error.clone()).unwrap_or_default(),
                ..ContainerState::default()
            },
            Self::Starting { before: None } | Self::Removing => ContainerState::default(),
        };
        self.word().clone_into(&mut shown.status);
        shown.exit_code = i64::from(self.exit_code());
        for time in [&mut shown.started_at, &mut shown.finished_at] {
            if time.is_empty() {
                time::ZERO.clone_into(time);
            }
        }
        shown
    }

    /// The words of the `STATUS` column.
    #[must_use]
    pub fn status_text(&self) -> String {
        let since = |text: &str| {
            let then = time::parse(text).unwrap_or_else(chrono::Utc::now);
            time::human(chrono::Utc::now() - then)
        };
        match self {
            Self::Created { .. } | Self::Starting { before: None } => "Created".to_owned(),
            Self::Running(run) => format!("Up {}", since(&run.started_at)),
            Self::Paused(run) => format!("Up {} (Paused)", since(&run.started_at)),
            Self::Exited(ended) | Self::Starting { before: Some(ended) } => {
                format!("Exited ({}) {} ago", ended.exit.exit_code, since(&ended.exit.exited_at))
            }
            Self::Removing => "Removal In Progress".to_owned(),
        }
    }
}
