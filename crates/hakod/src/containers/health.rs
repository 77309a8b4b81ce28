//! Health checks: what is asked for, what has been found, and the helper that
//! probes a running container at its intervals.
//!
//! ```text
//!   start, or the engine's return ─► starting ──► healthy ◄──► unhealthy
//!                                       └───────── retries failed ────▲
//! ```

use super::{
    actor::{Actor, Request, View},
    record::{Record, State},
    request::Happened,
};
use crate::{Engine, exec::probe, shim::Live};
use chrono::{DateTime, Utc};
use hako_api::{
    time,
    types::{ContainerConfig, container::HealthcheckResult},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How many probes are kept.
const LOG: usize = 5;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: i64 = 3;

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing yet.
    Starting,
    /// The last probe was good.
    Healthy,
    /// Too many in a row were not.
    Unhealthy,
}

/// What is known of a container's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: Status,
    /// Failed probes in a row.
    pub failing_streak: i64,
    /// The latest probes, the latest last.
    pub log: VecDeque<HealthcheckResult>,
}

/// What is to be run, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The program and its arguments.
    words: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Status {
    /// As the `STATUS` column has it.
    #[must_use]
    pub fn in_column(self) -> &'static str {
        match self {
            Self::Starting => "health: starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

impl Check {
    /// The check of a container, if it has one.
    #[must_use]
    pub fn of(config: &ContainerConfig) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let (kind, rest) = health.test.as_deref()?.split_first()?;
        let words: Vec<String> = match kind.as_str() {
            "CMD" => rest.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.as_deref().filter(|shell| !shell.is_empty());
                let shell = shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec);
                shell.into_iter().chain(rest.iter().cloned()).collect()
            }
            // `NONE`, or what nobody knows, which Docker does not run either.
            _ => return None,
        };
        let or = |nanos: i64, default: Duration| {
            u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map_or(default, Duration::from_nanos)
        };
        (!words.is_empty()).then(|| Self {
            words,
            interval: or(health.interval, DEFAULT_INTERVAL),
            timeout: or(health.timeout, DEFAULT_TIMEOUT),
            start_period: or(health.start_period, Duration::ZERO),
            start_interval: or(health.start_interval, DEFAULT_START_INTERVAL),
            retries: if health.retries > 0 { health.retries } else { DEFAULT_RETRIES },
        })
    }

    /// The wait before the next probe of a container that has run for `age`.
    fn pause(&self, status: Status, age: Duration) -> Duration {
        match status {
            Status::Starting if age < self.start_period => self.start_interval,
            Status::Starting | Status::Healthy | Status::Unhealthy => self.interval,
        }
    }
}

impl Health {
    /// Of a container that has just started; earlier probes stay in the log.
    fn starting(before: Option<Self>) -> Self {
        let log = before.map(|before| before.log).unwrap_or_default();
        Self { status: Status::Starting, failing_streak: 0, log }
    }

    /// Takes in a probe that began when the container had run for `age`.
    fn take(&mut self, probe: HealthcheckResult, check: &Check, age: Duration) {
        let good = probe.exit_code == 0;
        while self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        if good {
            (self.status, self.failing_streak) = (Status::Healthy, 0);
            return;
        }
        // A failure before the first success is forgiven while the container starts.
        if self.status == Status::Starting && age < check.start_period {
            return;
        }
        self.failing_streak += 1;
        if self.failing_streak >= check.retries {
            self.status = Status::Unhealthy;
        }
    }

    /// As inspect shows it.
    #[must_use]
    pub fn shown(&self) -> hako_api::types::container::Health {
        hako_api::types::container::Health {
            status: self.status.to_string(),
            failing_streak: self.failing_streak,
            log: self.log.iter().cloned().collect(),
        }
    }
}

/// Begins a record's health anew, if it has a check.
pub(super) fn reset(record: &mut Record) {
    if Check::of(&record.config).is_some() {
        record.health = Some(Health::starting(record.health.take()));
    }
}

/// In the owner: nothing probes it any more. As in moby
/// (`CloseMonitorChannel`), what is not probed counts as unhealthy.
pub(super) fn close(actor: &mut Actor) {
    if actor.monitor.take().is_some()
        && let Some(health) = &mut actor.record.health
    {
        health.status = Status::Unhealthy;
    }
}

/// In the owner: probes the container while it runs, and not while it is frozen.
pub(super) fn attend(actor: &mut Actor) {
    actor.monitor = None;
    let (State::Running(run), Some(live), Some(check)) =
        (&actor.record.state, &actor.live, Check::of(&actor.record.config))
    else {
        return;
    };
    let health = actor.record.health.clone().unwrap_or_else(|| Health::starting(None));
    let monitor = Monitor::new();
    let rounds = Rounds {
        number: monitor.number,
        started_at: time::parse(&run.started_at).unwrap_or_else(Utc::now),
        engine: actor.engine.clone(),
        live: live.clone(),
        view: actor.watch(),
        ear: actor.ear(),
        stop: monitor.stop.clone(),
        check,
        health,
    };
    actor.monitor = Some(monitor);
    tokio::spawn(rounds.run());
}

/// Probes a container until it is dropped.
pub(super) struct Monitor {
    /// Its own, so that a late probe is not taken for one of the next monitor.
    pub(super) number: u64,
    stop: CancellationToken,
}

impl Monitor {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), stop: CancellationToken::new() }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Rounds {
    number: u64,
    started_at: DateTime<Utc>,
    engine: Arc<Engine>,
    live: Live,
    view: watch::Receiver<Arc<View>>,
    ear: mpsc::Sender<Request>,
    stop: CancellationToken,
    check: Check,
    health: Health,
}

impl Rounds {
    fn age(&self) -> Duration {
        (Utc::now() - self.started_at).to_std().unwrap_or_default()
    }

    async fn run(mut self) {
        loop {
            let pause = self.check.pause(self.health.status, self.age());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            let (begun, age) = (time::now(), self.age());
            let view = self.view.borrow().clone();
            let job = probe::Probe { engine: &self.engine, record: &view.record, live: &self.live };
            let found = job.run(&self.check.words, self.check.timeout, &self.stop).await;
            if self.stop.is_cancelled() {
                return;
            }
            let (exit_code, output) = match found {
                Ok(outcome) => outcome,
                Err(err) => {
                    tracing::warn!("health check of container {}: {err}", view.record.id);
                    (-1, err.message)
                }
            };
            let result = HealthcheckResult { start: begun, end: time::now(), exit_code, output };
            self.health.take(result, &self.check, age);
            let happened = Happened::Probed { monitor: self.number, health: self.health.clone() };
            if self.ear.send(Request::Happened(happened)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_api::types::HealthConfig;

    fn config(test: &[&str], health: HealthConfig) -> ContainerConfig {
        let test = Some(test.iter().map(|word| (*word).to_owned()).collect());
        ContainerConfig { healthcheck: Some(HealthConfig { test, ..health }), ..ContainerConfig::default() }
    }

    fn result(exit_code: i64) -> HealthcheckResult {
        HealthcheckResult { exit_code, ..HealthcheckResult::default() }
    }

    #[test]
    fn commands_and_shells() {
        let words = |config: &ContainerConfig| Check::of(config).map(|check| check.words);
        let plain = HealthConfig::default;
        assert_eq!(words(&ContainerConfig::default()), None);
        assert_eq!(words(&config(&["NONE"], plain())), None);
        assert_eq!(words(&config(&["CMD"], plain())), None);
        assert_eq!(words(&config(&[], plain())), None);
        assert_eq!(words(&config(&["CMD", "a", "b c"], plain())).unwrap(), ["a", "b c"]);
        let mut shell = config(&["CMD-SHELL", "a b"], plain());
        assert_eq!(words(&shell).unwrap(), ["/bin/sh", "-c", "a b"]);
        shell.shell = Some(vec!["/bin/ash".into(), "-ec".into()]);
        assert_eq!(words(&shell).unwrap(), ["/bin/ash", "-ec", "a b"]);
    }

    #[test]
    fn three_failures_in_a_row_and_one_success() {
        let check = Check::of(&config(&["CMD", "x"], HealthConfig::default())).unwrap();
        let mut health = Health::starting(None);
        let mut seen = Vec::new();
        for code in [1, 2, 3, 0, 1, 1, 0] {
            health.take(result(code), &check, Duration::ZERO);
            seen.push((health.status, health.failing_streak));
        }
        use Status::{Healthy, Starting, Unhealthy};
        let expected =
            [(Starting, 1), (Starting, 2), (Unhealthy, 3), (Healthy, 0), (Healthy, 1), (Healthy, 2), (Healthy, 0)];
        assert_eq!(seen, expected);
        let codes: Vec<i64> = health.log.iter().map(|probe| probe.exit_code).collect();
        assert_eq!(codes, [3, 0, 1, 1, 0], "the last five");
    }

    #[test]
    fn failures_while_it_starts_are_forgiven() {
        let times = HealthConfig { start_period: 10_000_000_000, retries: 1, ..HealthConfig::default() };
        let check = Check::of(&config(&["CMD", "x"], times)).unwrap();
        let mut health = Health::starting(None);
        health.take(result(1), &check, Duration::from_secs(9));
        assert_eq!((health.status, health.failing_streak), (Status::Starting, 0));
        assert_eq!(check.pause(Status::Starting, Duration::from_secs(9)), DEFAULT_START_INTERVAL);
        assert_eq!(check.pause(Status::Healthy, Duration::from_secs(9)), DEFAULT_INTERVAL);
        health.take(result(1), &check, Duration::from_secs(10));
        assert_eq!(health.status, Status::Unhealthy);
        // Once it was healthy, a failure counts at once.
        let mut health = Health::starting(None);
        health.take(result(0), &check, Duration::ZERO);
        health.take(result(1), &check, Duration::ZERO);
        assert_eq!(health.status, Status::Unhealthy);
    }
}
