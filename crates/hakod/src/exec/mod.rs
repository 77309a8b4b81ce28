//! Further processes in running containers. Known only to this engine: an
//! engine that was restarted has forgotten them, as dockerd has.

pub mod create;
pub mod inspect;
pub mod probe;
pub mod resize;
pub mod start;

use hako_api::types::ExecConfig;
use hako_model::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long an exec that has ended can still be inspected.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// One exec.
pub struct Exec {
    /// Its identifier.
    pub id: String,
    /// The container's.
    pub container: String,
    /// What was asked for.
    pub config: ExecConfig,
    state: Mutex<Standing>,
    /// Told when it comes to stand elsewhere.
    moved: Notify,
}

struct Standing {
    state: State,
    /// When it came to stand there.
    since: Instant,
}

impl Standing {
    fn new(state: State) -> Self {
        Self { state, since: Instant::now() }
    }
}

/// Where an exec stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for its start.
    Created,
    /// Being started.
    Starting,
    /// Runs.
    Running {
        /// As the wall's kernel numbers it.
        pid: i64,
    },
    /// Ended, or could not start.
    Ended {
        /// The exit code.
        code: i64,
    },
}

/// Every exec of every container.
#[derive(Default)]
pub struct Execs(Mutex<HashMap<String, Arc<Exec>>>);

impl Exec {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.lock().state
    }
    /// It stands elsewhere now.
    pub fn set(&self, state: State) {
        *self.lock() = Standing::new(state);
        self.moved.notify_waiters();
    }
    /// Where it stands once it has started, or after `patience`.
    pub async fn started(&self, patience: Duration) -> State {
        let started = async {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                match self.state() {
                    State::Created | State::Starting => moved.await,
                    State::Running { .. } | State::Ended { .. } => return,
                }
            }
        };
        // The state says whether it did.
        let _ = tokio::time::timeout(patience, started).await;
        self.state()
    }
    /// Takes the one start that it has.
    ///
    /// # Errors
    /// It was started before.
    pub fn begin(&self) -> Result<()> {
        let mut standing = self.lock();
        match standing.state {
            State::Created => {
                *standing = Standing::new(State::Starting);
                Ok(())
            }
            State::Starting | State::Running { .. } => {
                Err(Error::conflict(format!("Error: Exec command {} is already running", self.id)))
            }
            State::Ended { .. } => Err(Error::conflict(format!("Error: Exec command {} has already run", self.id))),
        }
    }
    /// Whether it has ended long ago.
    fn is_stale(&self) -> bool {
        let standing = self.lock();
        match standing.state {
            State::Ended { .. } => standing.since.elapsed() > KEPT,
            State::Created | State::Starting | State::Running { .. } => false,
        }
    }
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Execs {
    /// A new one. Forgets those that have ended long ago: health checks alone
    /// would add one every few seconds for as long as their container runs.
    pub fn add(&self, container: &str, config: ExecConfig) -> Arc<Exec> {
        let id = hako_model::ContainerId::random().to_string();
        let state = Mutex::new(Standing::new(State::Created));
        let exec =
            Arc::new(Exec { id: id.clone(), container: container.to_owned(), config, state, moved: Notify::new() });
        let mut all = self.lock();
        all.retain(|_, exec| !exec.is_stale());
        all.insert(id, exec.clone());
        exec
    }
    /// By its whole identifier, or a beginning that is no other's.
    ///
    /// # Errors
    /// `No such exec instance: …`.
    pub fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let all = self.lock();
        if let Some(exec) = all.get(id) {
            return Ok(exec.clone());
        }
        let mut fitting = all.values().filter(|exec| !id.is_empty() && exec.id.starts_with(id));
        match (fitting.next(), fitting.next()) {
            (Some(exec), None) => Ok(exec.clone()),
            (_, _) => Err(Error::not_found(format!("No such exec instance: {id}"))),
        }
    }
    /// The live ones of a container.
    pub fn of(&self, container: &str) -> Vec<String> {
        let live = |exec: &&Arc<Exec>| exec.container == container && !matches!(exec.state(), State::Ended { .. });
        self.lock().values().filter(live).map(|exec| exec.id.clone()).collect()
    }
    /// A container has ended, and with it those that had not started.
    pub fn container_ended(&self, container: &str) {
        self.lock().retain(|_, exec| exec.container != container || exec.state() != State::Created);
    }
    /// A container is gone.
    pub fn container_removed(&self, container: &str) {
        self.lock().retain(|_, exec| exec.container != container);
    }
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
