//! Restart policies: which are valid, and when they start a container again.

use super::state::State;
use hako_api::types::RestartPolicy;
use hako_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The first wait before a restart; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next wait the first one again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// What the engine remembers of a container's restarts since somebody started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// `RestartCount`.
    pub count: i64,
    /// The last wait; 0 before the first.
    pub delay_ms: u64,
    /// Somebody has sent it a signal to stop: `unless-stopped` lets it be.
    pub manually_stopped: bool,
}

/// Whether a policy restarts at all.
#[must_use]
pub fn is_none(policy: &RestartPolicy) -> bool {
    matches!(policy.name.as_str(), "" | "no")
}

/// Checks a policy as create and update take it.
///
/// # Errors
/// Docker's words.
pub fn validate(policy: &RestartPolicy, auto_remove: bool) -> Result<()> {
    if auto_remove && !is_none(policy) {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    let count = policy.maximum_retry_count;
    match policy.name.as_str() {
        // Older clients leave the name out and may send any count.
        "" => Ok(()),
        "no" | "always" | "unless-stopped" if count == 0 => Ok(()),
        "no" | "always" | "unless-stopped" => {
            let negative = if count < 0 { " and cannot be negative" } else { "" };
            Err(Error::invalid(format!(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
            )))
        }
        "on-failure" if count < 0 => {
            Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"))
        }
        "on-failure" => Ok(()),
        other => Err(Error::invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ))),
    }
}

/// After a run that `lasted` so long and ended with `exit_code`: the restarts
/// with the coming one in them, or none if there is to be none. `cancelled`
/// says that somebody ended this very run.
#[must_use]
pub fn after_end(
    policy: &RestartPolicy,
    restarts: Restarts,
    exit_code: i32,
    lasted: Duration,
    cancelled: bool,
) -> Option<Restarts> {
    let wanted = match policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !restarts.manually_stopped,
        "on-failure" => {
            let most = policy.maximum_retry_count;
            exit_code != 0 && (most == 0 || restarts.count < most)
        }
        _ => false,
    };
    if cancelled || !wanted {
        return None;
    }
    let last = if lasted >= GOOD_RUN { Duration::ZERO } else { Duration::from_millis(restarts.delay_ms) };
    let delay = if last.is_zero() { FIRST } else { (last * 2).min(LONGEST) };
    // At most a minute.
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Some(Restarts { count: restarts.count + 1, delay_ms, ..restarts })
}

/// Whether the engine starts a container when it starts itself. As in Docker,
/// `always` does not mind that somebody has stopped it, and neither does
/// `on-failure` if the code says failure, as that of a signal does.
#[must_use]
pub fn at_engine_start(policy: &RestartPolicy, restarts: Restarts, state: &State) -> bool {
    match state {
        State::Exited(ended) => match policy.name.as_str() {
            "always" => true,
            _ => after_end(policy, restarts, ended.exit.exit_code, Duration::ZERO, false).is_some(),
        },
        // One that never ran is not brought to run by the engine's start, and
        // one that waits for its restart goes on waiting.
        State::Created { .. }
        | State::Restarting(_)
        | State::Starting { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Removing { .. }
        | State::Dead { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy { name: name.to_owned(), maximum_retry_count }
    }

    #[test]
    fn refusals_in_dockers_words() {
        let refused = |name, count, rm| validate(&policy(name, count), rm).unwrap_err().message;
        let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
        assert_eq!(refused("always", 3, false), only);
        assert_eq!(refused("no", -1, false), format!("{only} and cannot be negative"));
        assert_eq!(refused("on-failure", -2, false), "invalid restart policy: maximum retry count cannot be negative");
        assert_eq!(
            refused("something", 0, false),
            "invalid restart policy: unknown policy 'something'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
        assert_eq!(refused("always", 0, true), "can't create 'AutoRemove' container with restart policy");
        for (name, count) in [("", 7), ("no", 0), ("always", 0), ("unless-stopped", 0), ("on-failure", 5)] {
            assert!(validate(&policy(name, count), false).is_ok(), "{name}:{count}");
        }
        assert!(validate(&policy("no", 0), true).is_ok());
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut restarts = Restarts::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            restarts = after_end(&policy("always", 0), restarts, 0, Duration::ZERO, false).unwrap();
            waits.push(restarts.delay_ms);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(restarts.count, 12);
        let restarts = after_end(&policy("always", 0), restarts, 0, Duration::from_secs(10), false).unwrap();
        assert_eq!((restarts.count, restarts.delay_ms), (13, 100));
    }

    #[test]
    fn each_policy_by_code_count_and_stop() {
        let again = |name: &str, most: i64, count: i64, code: i32, stopped: bool| {
            let restarts = Restarts { count, manually_stopped: stopped, ..Restarts::default() };
            after_end(&policy(name, most), restarts, code, Duration::ZERO, false).is_some()
        };
        assert!(!again("no", 0, 0, 1, false));
        assert!(again("always", 0, 0, 0, true));
        assert!(again("unless-stopped", 0, 0, 0, false) && !again("unless-stopped", 0, 0, 0, true));
        assert!(again("on-failure", 0, 99, 1, false) && !again("on-failure", 0, 0, 0, false));
        assert!(again("on-failure", 3, 2, 1, false) && !again("on-failure", 3, 3, 1, false));
        assert!(after_end(&policy("always", 0), Restarts::default(), 1, Duration::ZERO, true).is_none());
    }
}
