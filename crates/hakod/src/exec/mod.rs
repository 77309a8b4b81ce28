//! Further processes in running containers. Known only to this engine: an
//! engine that was restarted has forgotten them, as dockerd has.

pub mod create;
pub mod inspect;
pub mod resize;
pub mod start;

use hako_api::types::ExecConfig;
use hako_model::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One exec.
pub struct Exec {
    /// Its identifier.
    pub id: String,
    /// The container's.
    pub container: String,
    /// What was asked for.
    pub config: ExecConfig,
    state: Mutex<State>,
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
        *self.lock()
    }
    /// It stands elsewhere now.
    pub fn set(&self, state: State) {
        *self.lock() = state;
    }
    /// Takes the one start that it has.
    ///
    /// # Errors
    /// It was started before.
    pub fn begin(&self) -> Result<()> {
        let mut state = self.lock();
        match *state {
            State::Created => {
                *state = State::Starting;
                Ok(())
            }
            State::Starting | State::Running { .. } => {
                Err(Error::conflict(format!("exec {} is already running", self.id)))
            }
            State::Ended { .. } => Err(Error::conflict(format!("exec {} has already run", self.id))),
        }
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Execs {
    /// A new one.
    pub fn add(&self, container: &str, config: ExecConfig) -> Arc<Exec> {
        let id = hako_model::ContainerId::random().to_string();
        let exec = Exec { id: id.clone(), container: container.to_owned(), config, state: Mutex::new(State::Created) };
        let exec = Arc::new(exec);
        self.lock().insert(id, exec.clone());
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
