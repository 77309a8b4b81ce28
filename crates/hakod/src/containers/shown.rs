//! A state as Docker shows it.

use super::{
    health::Health,
    state::{Before, Rest, State},
};
use hako_api::{time, types::ContainerState};
use hako_model::ExitDetails;

impl State {
    /// The word of `State.Status`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } | Self::Starting { before: Before::Rest(Rest::Created { .. }) } => "created",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Restarting(_) | Self::Starting { before: Before::Backoff(_) } => "restarting",
            Self::Exited(_) | Self::Starting { before: Before::Rest(Rest::Exited(_)) } => "exited",
            Self::Removing { .. } => "removing",
            Self::Dead { .. } => "dead",
        }
    }

    /// The exit code that Docker shows.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        let failed = self.failure().map(|failure| failure.exit_code);
        self.ended().map(|ended| ended.exit.exit_code).or(failed).unwrap_or(0)
    }

    /// The `State` of an inspect, without its health.
    #[must_use]
    pub fn shown(&self) -> ContainerState {
        let mut shown = ContainerState {
            status: self.word().to_owned(),
            exit_code: i64::from(self.exit_code()),
            error: self.error(),
            ..ContainerState::default()
        };
        match self {
            Self::Running(_) => shown.running = true,
            Self::Paused(_) => (shown.running, shown.paused) = (true, true),
            // Docker counts the time between two runs as running.
            Self::Restarting(_) | Self::Starting { before: Before::Backoff(_) } => {
                (shown.running, shown.restarting) = (true, true);
            }
            Self::Removing { .. } | Self::Dead { .. } => shown.dead = true,
            Self::Created { .. } | Self::Starting { before: Before::Rest(_) } | Self::Exited(_) => {}
        }
        if let Some(run) = self.run() {
            shown.pid = run.pid;
            shown.started_at.clone_from(&run.started_at);
            shown.finished_at = run.finished_before.clone().unwrap_or_default();
        }
        if let Some(ended) = self.ended() {
            shown.oom_killed = ended.exit.oom_killed;
            shown.started_at.clone_from(&ended.started_at);
            shown.finished_at.clone_from(&ended.exit.exited_at);
        }
        for time in [&mut shown.started_at, &mut shown.finished_at] {
            if time.is_empty() {
                time::ZERO.clone_into(time);
            }
        }
        shown
    }

    /// `State.Error`.
    fn error(&self) -> String {
        let of_exit = |exit: &ExitDetails| exit.error.clone().unwrap_or_default();
        match self {
            Self::Dead { error, .. } => error.clone(),
            Self::Created { .. }
            | Self::Starting { .. }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Restarting(_)
            | Self::Exited(_)
            | Self::Removing { .. } => match (self.ended(), self.failure()) {
                (Some(ended), _) => of_exit(&ended.exit),
                (None, Some(failure)) => failure.error.clone(),
                (None, None) => String::new(),
            },
        }
    }

    /// The words of the `STATUS` column.
    #[must_use]
    pub fn status_text(&self, health: Option<&Health>) -> String {
        let since = |text: &str| {
            let then = time::parse(text).unwrap_or_else(chrono::Utc::now);
            time::human(chrono::Utc::now() - then)
        };
        let over = |exit: &ExitDetails| format!("({}) {} ago", exit.exit_code, since(&exit.exited_at));
        match self {
            Self::Created { .. } | Self::Starting { before: Before::Rest(Rest::Created { .. }) } => {
                "Created".to_owned()
            }
            Self::Running(run) => match health {
                Some(health) => format!("Up {} ({})", since(&run.started_at), health.status.in_column()),
                None => format!("Up {}", since(&run.started_at)),
            },
            Self::Paused(run) => format!("Up {} (Paused)", since(&run.started_at)),
            Self::Restarting(backoff) | Self::Starting { before: Before::Backoff(backoff) } => {
                format!("Restarting {}", over(&backoff.ended.exit))
            }
            Self::Exited(ended) | Self::Starting { before: Before::Rest(Rest::Exited(ended)) } => {
                format!("Exited {}", over(&ended.exit))
            }
            Self::Removing { .. } => "Removal In Progress".to_owned(),
            Self::Dead { .. } => "Dead".to_owned(),
        }
    }
}
