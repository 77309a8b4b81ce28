//! The one state machine of a container's life. Pure: [`admit`] says what a
//! verb comes to in a state, or refuses it in Docker's words; [`next`] is the
//! state after an event; [`returned`] is what an engine that has just started
//! makes of what it finds. The owner (`actor.rs`) does what they say.

use super::state::{Backoff, Before, Ended, Failure, Rest, Run, State};
use hako_model::{Error, ErrorKind, ExitDetails, Result, ShimPhase};

/// What is asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Run it.
    Start,
    /// Send it a signal. `ends` if that is meant to end it for good.
    Signal {
        /// Whether the signal calls off a restart and thaws.
        ends: bool,
    },
    /// Freeze it.
    Pause,
    /// Thaw it.
    Unpause,
    /// Give it another name.
    Rename,
    /// Remove it.
    Remove {
        /// Even if it runs.
        force: bool,
    },
    /// Connect a client to its streams.
    Attach,
    /// Run a further process in it.
    Exec,
    /// Give it other limits or another restart policy.
    Update,
    /// Reach its files.
    Files,
    /// Connect it to a network, or disconnect it from one.
    Network,
}

/// What a verb comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// What the verb says, at once.
    Now,
    /// The start that is under way must end first; then the verb is asked again.
    AfterStart,
    /// The client waits for the next start.
    AtStart,
    /// What the verb says, and then thaw, or nothing would come of it.
    AndThaw,
    /// The restart that is waited for is called off first, and for a signal
    /// that is all.
    CancelRestart,
    /// It is killed first.
    KillFirst,
    /// Nothing at all.
    Nothing,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody starts it, or its back-off is over.
    StartBegun,
    /// Its first process runs.
    Started(Run),
    /// There is no process.
    StartFailed(Failure),
    /// The engine died during the start, and nothing is left of it.
    StartLost,
    /// The run is over.
    Ended {
        /// How.
        exit: ExitDetails,
        /// When the policy starts it again, if it does.
        restart_in: Option<u64>,
    },
    /// Frozen.
    Frozen,
    /// Thawed.
    Thawed,
    /// The restart that was waited for is called off.
    RestartCancelled,
    /// It is being removed.
    RemovalBegun,
    /// Something of it cannot be removed.
    RemovalFailed(String),
}

/// Whom a refusal names.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The whole id.
    pub id: &'a str,
    /// The name without its slash.
    pub name: &'a str,
}

/// What `verb` comes to in `state`.
///
/// # Errors
/// Docker's refusal.
pub fn admit(state: &State, verb: Verb, who: Who<'_>) -> Result<Todo> {
    match verb {
        Verb::Start => start(state),
        Verb::Signal { ends } => signal(state, ends, who),
        Verb::Pause => pause(state, who),
        Verb::Unpause => unpause(state, who),
        Verb::Rename => change(state, "renamed"),
        Verb::Update => update(state, who),
        Verb::Remove { force } => remove(state, force, who),
        Verb::Attach => attach(state, who),
        Verb::Exec => exec(state, who),
        Verb::Files => files(state),
        Verb::Network => network(state, who),
    }
}

fn marked(done: &str) -> Error {
    Error::conflict(format!("container is marked for removal and cannot be {done}"))
}

fn not_running(who: Who<'_>) -> Error {
    Error::conflict(format!("container {} is not running", who.id))
}

fn restarting(who: Who<'_>) -> Error {
    Error::conflict(format!("Container {} is restarting, wait until the container is running", who.id))
}

fn start(state: &State) -> Result<Todo> {
    match state {
        State::Created { .. } | State::Exited(_) => Ok(Todo::Now),
        State::Starting { before: Before::Rest(_) } => Ok(Todo::AfterStart),
        State::Running(_) | State::Restarting(_) | State::Starting { before: Before::Backoff(_) } => {
            Err(Error::new(ErrorKind::NotModified, "container is running"))
        }
        State::Paused(_) => Err(Error::conflict("cannot start a paused container, try unpause instead")),
        State::Removing { .. } | State::Dead { .. } => Err(marked("started")),
    }
}

fn signal(state: &State, ends: bool, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Running(_) => Ok(Todo::Now),
        State::Paused(_) if ends => Ok(Todo::AndThaw),
        State::Paused(_) => Ok(Todo::Now),
        State::Restarting(_) if ends => Ok(Todo::CancelRestart),
        State::Restarting(_) => Ok(Todo::Nothing),
        State::Created { .. } | State::Exited(_) | State::Removing { .. } | State::Dead { .. } => Err(not_running(who)),
    }
}

fn pause(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Running(_) => Ok(Todo::Now),
        State::Paused(_) => Err(Error::conflict(format!("Container {} is already paused", who.id))),
        State::Restarting(_) => Err(restarting(who)),
        State::Created { .. } | State::Exited(_) | State::Removing { .. } | State::Dead { .. } => {
            Err(Error::conflict(format!("Container {} is not running", who.id)))
        }
    }
}

fn unpause(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Paused(_) => Ok(Todo::Now),
        State::Created { .. }
        | State::Running(_)
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => Err(Error::internal(format!("Container {} is not paused", who.id))),
    }
}

/// Changes of the record that no run minds.
fn change(state: &State, done: &str) -> Result<Todo> {
    match state {
        State::Created { .. }
        | State::Starting { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Restarting(_)
        | State::Exited(_) => Ok(Todo::Now),
        State::Removing { .. } | State::Dead { .. } => Err(marked(done)),
    }
}

/// A start that is under way takes the limits that it has begun with.
fn update(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Created { .. } | State::Running(_) | State::Paused(_) | State::Restarting(_) | State::Exited(_) => {
            Ok(Todo::Now)
        }
        State::Removing { .. } | State::Dead { .. } => Err(Error::conflict(format!(
            "Cannot update container {}: container is marked for removal and cannot be \"update\"",
            who.id
        ))),
    }
}

fn remove(state: &State, force: bool, who: Who<'_>) -> Result<Todo> {
    let refuse = |why: &str| Err(Error::conflict(format!("cannot remove container \"/{}\": {why}", who.name)));
    match state {
        State::Created { .. } | State::Exited(_) | State::Dead { .. } => Ok(Todo::Now),
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Running(_) | State::Paused(_) if force => Ok(Todo::KillFirst),
        State::Restarting(_) if force => Ok(Todo::CancelRestart),
        State::Running(_) | State::Restarting(_) => {
            refuse(&format!("container is {}: stop the container before removing or force remove", state.word()))
        }
        State::Paused(_) => refuse("container is paused and must be unpaused first"),
        State::Removing { .. } => {
            Err(Error::conflict(format!("removal of container {} is already in progress", who.name)))
        }
    }
}

fn attach(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Created { .. } | State::Exited(_) => Ok(Todo::AtStart),
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Running(_) => Ok(Todo::Now),
        State::Paused(_) => {
            Err(Error::conflict(format!("container {} is paused, unpause the container before attach", who.id)))
        }
        State::Restarting(_) => {
            Err(Error::conflict(format!("container {} is restarting, wait until the container is running", who.id)))
        }
        State::Removing { .. } | State::Dead { .. } => Err(marked("attached to")),
    }
}

fn exec(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Running(_) => Ok(Todo::Now),
        State::Paused(_) => {
            Err(Error::conflict(format!("Container {} is paused, unpause the container before exec", who.id)))
        }
        State::Restarting(_) | State::Starting { before: Before::Backoff(_) } => Err(restarting(who)),
        State::Created { .. }
        | State::Starting { before: Before::Rest(_) }
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => Err(not_running(who)),
    }
}

fn files(state: &State) -> Result<Todo> {
    match state {
        State::Created { .. } | State::Running(_) | State::Paused(_) | State::Restarting(_) | State::Exited(_) => {
            Ok(Todo::Now)
        }
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Removing { .. } | State::Dead { .. } => Err(marked("reached for its files")),
    }
}

fn network(state: &State, who: Who<'_>) -> Result<Todo> {
    match state {
        State::Created { .. } | State::Running(_) | State::Paused(_) | State::Restarting(_) | State::Exited(_) => {
            Ok(Todo::Now)
        }
        State::Starting { .. } => Ok(Todo::AfterStart),
        State::Removing { .. } | State::Dead { .. } => Err(Error::conflict(format!(
            "Container {} is marked for removal and cannot be connected or disconnected to the network",
            who.id
        ))),
    }
}

/// The state after `event`. An event that comes too late for a state changes
/// nothing: a thaw is answered when the container has ended meanwhile.
#[must_use]
pub fn next(state: State, event: Event) -> State {
    match event {
        Event::StartBegun => start_begun(state),
        Event::Started(run) => match state {
            State::Starting { before } => {
                let finished_before = before.ended().map(|ended| ended.exit.exited_at.clone());
                State::Running(Run { finished_before, ..run })
            }
            late @ (State::Created { .. }
            | State::Running(_)
            | State::Paused(_)
            | State::Restarting(_)
            | State::Exited(_)
            | State::Removing { .. }
            | State::Dead { .. }) => late,
        },
        Event::StartFailed(failure) => start_over(state, |before| failed(before, failure)),
        Event::StartLost => start_over(state, lost),
        Event::Ended { exit, restart_in } => ended(state, exit, restart_in),
        Event::Frozen => match state {
            State::Running(run) => State::Paused(run),
            late @ (State::Created { .. }
            | State::Starting { .. }
            | State::Paused(_)
            | State::Restarting(_)
            | State::Exited(_)
            | State::Removing { .. }
            | State::Dead { .. }) => late,
        },
        Event::Thawed => match state {
            State::Paused(run) => State::Running(run),
            late @ (State::Created { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Restarting(_)
            | State::Exited(_)
            | State::Removing { .. }
            | State::Dead { .. }) => late,
        },
        Event::RestartCancelled => match state {
            State::Restarting(backoff) => State::Exited(backoff.ended),
            late @ (State::Created { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Paused(_)
            | State::Exited(_)
            | State::Removing { .. }
            | State::Dead { .. }) => late,
        },
        Event::RemovalBegun => removal_begun(state),
        Event::RemovalFailed(error) => match state {
            State::Removing { before } => State::Dead { before, error },
            late @ (State::Created { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Paused(_)
            | State::Restarting(_)
            | State::Exited(_)
            | State::Dead { .. }) => late,
        },
    }
}

fn start_begun(state: State) -> State {
    match state {
        State::Created { failure } => State::Starting { before: Before::Rest(Rest::Created { failure }) },
        State::Exited(ended) => State::Starting { before: Before::Rest(Rest::Exited(ended)) },
        State::Restarting(backoff) => State::Starting { before: Before::Backoff(backoff) },
        late @ (State::Starting { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Removing { .. }
        | State::Dead { .. }) => late,
    }
}

fn start_over(state: State, after: impl FnOnce(Before) -> State) -> State {
    match state {
        State::Starting { before } => after(before),
        late @ (State::Created { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. }) => late,
    }
}

fn failed(before: Before, failure: Failure) -> State {
    match before {
        Before::Rest(Rest::Created { .. }) => State::Created { failure: Some(failure) },
        Before::Rest(Rest::Exited(ended)) => {
            let exit = ExitDetails { exit_code: failure.exit_code, error: Some(failure.error), ..ended.exit };
            State::Exited(Ended { exit, ..ended })
        }
        // As in Docker it is not tried again, and the code is the last run's.
        Before::Backoff(Backoff { ended, .. }) => {
            let exit = ExitDetails { error: Some(failure.error), ..ended.exit };
            State::Exited(Ended { exit, ..ended })
        }
    }
}

fn lost(before: Before) -> State {
    match before {
        Before::Rest(Rest::Created { .. }) => State::Created {
            failure: Some(Failure { exit_code: 128, error: "the engine ended during the start".to_owned() }),
        },
        Before::Rest(Rest::Exited(ended)) => State::Exited(ended),
        Before::Backoff(backoff) => State::Restarting(backoff),
    }
}

fn ended(state: State, exit: ExitDetails, restart_in: Option<u64>) -> State {
    let over = |started_at: String| {
        let ended = Ended { started_at, exit: exit.clone() };
        match restart_in {
            Some(delay_ms) => State::Restarting(Backoff { ended, delay_ms }),
            None => State::Exited(ended),
        }
    };
    match state {
        State::Running(run) | State::Paused(run) => over(run.started_at),
        // It ran and ended while no engine was there to see it run.
        State::Starting { .. } => over(exit.exited_at.clone()),
        late @ (State::Created { .. }
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. }) => late,
    }
}

fn removal_begun(state: State) -> State {
    match state {
        State::Created { failure } => State::Removing { before: Rest::Created { failure } },
        State::Exited(ended) => State::Removing { before: Rest::Exited(ended) },
        State::Dead { before, .. } => State::Removing { before },
        // Nobody removes what runs: it is ended first.
        late @ (State::Starting { .. }
        | State::Running(_)
        | State::Paused(_)
        | State::Restarting(_)
        | State::Removing { .. }) => late,
    }
}

/// What an engine that has just started finds of a container's shim.
#[derive(Debug, Clone)]
pub enum Found {
    /// It serves, and this is what it says.
    Serving(ShimPhase),
    /// It is gone; how the run ended, if it could still write that down.
    Gone(Option<ExitDetails>),
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Return {
    /// It runs: attend to its end, after this event if there is one.
    Attend(Option<Event>),
    /// Its run is over, and how, if that is known.
    End(Option<ExitDetails>),
    /// Clear away what is left of the start.
    UndoStart,
    /// Clear away what may be left of a sandbox.
    Rest,
    /// The same, and go on waiting for the restart.
    AwaitRestart,
    /// Finish the removal.
    Remove,
}

/// What becomes of a container that the store has in `state`.
#[must_use]
pub fn returned(state: &State, found: Found, now: &str) -> Return {
    match state {
        State::Running(_) | State::Paused(_) => match found {
            Found::Serving(_) => Return::Attend(None),
            Found::Gone(exit) => Return::End(exit),
        },
        State::Starting { .. } => match found {
            Found::Serving(ShimPhase::Running { pid }) => {
                let run = Run { pid: i64::from(pid), started_at: now.to_owned(), finished_before: None };
                Return::Attend(Some(Event::Started(run)))
            }
            Found::Serving(ShimPhase::Exited(exit)) => Return::End(Some(exit)),
            Found::Serving(ShimPhase::Empty | ShimPhase::Created { .. }) | Found::Gone(_) => Return::UndoStart,
        },
        State::Created { .. } | State::Exited(_) => Return::Rest,
        State::Restarting(_) => Return::AwaitRestart,
        State::Removing { .. } | State::Dead { .. } => Return::Remove,
    }
}

#[cfg(test)]
mod tests;
