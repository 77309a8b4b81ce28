//! Random lives. Whatever is asked and whatever happens, in any order: a
//! container never shows what Docker could not show, and what the store keeps
//! of it is all that an engine needs to go on.

use super::super::{
    policy::{self, Restarts},
    state::State,
};
use super::*;
use hako_api::{
    time,
    types::{ContainerState, RestartPolicy},
};
use proptest::prelude::*;
use std::time::Duration;

const WHO: Who<'static> = Who { id: "0123456789ab", name: "box" };

/// One thing that is asked or happens.
#[derive(Debug, Clone)]
enum Step {
    Ask(Verb),
    /// `stop` and a `start` right behind it.
    Restart,
    SetPolicy(RestartPolicy),
    StartSucceeds,
    StartFails(i32),
    /// The run ends, after so many seconds.
    Ends {
        code: i32,
        oom: bool,
        after: u64,
    },
    ShimDies,
    BackoffOver,
    /// The engine dies and comes back; meanwhile the container may end.
    EngineRestarts(Meanwhile),
    /// The next removal fails.
    RemovalFails,
}

#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    ItEnds(i32),
    ItsShimDies,
    TheHostBoots,
}

/// What is really there of a container.
#[derive(Debug, Clone)]
enum Shim {
    None,
    Serves(ShimPhase),
}

struct Life {
    state: State,
    restarts: Restarts,
    policy: RestartPolicy,
    cancelled: bool,
    shim: Shim,
    removal_fails: bool,
    gone: bool,
    /// Seconds since its creation.
    clock: i64,
}

impl Life {
    fn new(policy: RestartPolicy) -> Self {
        Self {
            state: State::Created { failure: None },
            restarts: Restarts::default(),
            policy,
            cancelled: false,
            shim: Shim::None,
            removal_fails: false,
            gone: false,
            clock: 0,
        }
    }

    fn now(&self) -> String {
        time::format(chrono::DateTime::from_timestamp(1_700_000_000 + self.clock, 0).unwrap())
    }

    fn happen(&mut self, event: Event) {
        self.state = next(self.state.clone(), event);
    }

    fn step(&mut self, step: Step) {
        self.clock += 1;
        match step {
            Step::Ask(verb) => self.ask(verb),
            Step::Restart => {
                self.ask(Verb::Signal { ends: true });
                if self.state.run().is_some() {
                    self.ends(143, false);
                }
                self.ask(Verb::Start);
            }
            Step::SetPolicy(policy) => {
                if admit(&self.state, Verb::Update, WHO).is_ok() {
                    self.policy = policy;
                }
            }
            Step::StartSucceeds if self.state.is_starting() => {
                self.shim = Shim::Serves(ShimPhase::Running { pid: 7 });
                self.happen(Event::Started(Run { pid: 7, started_at: self.now(), finished_before: None }));
            }
            Step::StartFails(exit_code) if self.state.is_starting() => {
                self.shim = Shim::None;
                self.happen(Event::StartFailed(Failure { exit_code, error: "no such file".into() }));
            }
            Step::Ends { code, oom, after } if self.state.run().is_some() => {
                self.clock += i64::try_from(after).unwrap();
                self.ends(code, oom);
            }
            Step::ShimDies if self.state.run().is_some() => self.ends(137, false),
            Step::BackoffOver if matches!(self.state, State::Restarting(_)) => self.start(),
            Step::EngineRestarts(meanwhile) => self.engine_restarts(meanwhile),
            Step::RemovalFails => self.removal_fails = true,
            // Nothing that could happen now.
            Step::StartSucceeds | Step::StartFails(_) | Step::Ends { .. } | Step::ShimDies | Step::BackoffOver => {}
        }
    }

    /// What the owner does.
    fn ask(&mut self, verb: Verb) {
        let Ok(todo) = admit(&self.state, verb, WHO) else { return };
        match (verb, todo) {
            (_, Todo::AfterStart | Todo::AtStart | Todo::Nothing) => {}
            (Verb::Start, _) => self.start(),
            (Verb::Signal { ends }, todo) => {
                self.cancelled |= ends;
                self.restarts.manually_stopped = true;
                match todo {
                    Todo::AndThaw => self.happen(Event::Thawed),
                    Todo::CancelRestart => self.happen(Event::RestartCancelled),
                    Todo::Now => {}
                    other => panic!("a signal: {other:?}"),
                }
            }
            (Verb::Pause, _) => self.happen(Event::Frozen),
            (Verb::Unpause, _) => self.happen(Event::Thawed),
            (Verb::Remove { .. }, todo) => self.remove(todo),
            (Verb::Rename | Verb::Attach | Verb::Exec | Verb::Update | Verb::Files | Verb::Network, todo) => {
                assert_eq!(todo, Todo::Now)
            }
        }
    }

    fn start(&mut self) {
        if !matches!(self.state, State::Restarting(_)) {
            self.restarts = Restarts::default();
        }
        self.cancelled = false;
        self.happen(Event::StartBegun);
        assert!(self.state.is_starting());
        self.shim = Shim::Serves(ShimPhase::Empty);
    }

    fn ends(&mut self, exit_code: i32, oom_killed: bool) {
        let exit = ExitDetails { exit_code, exited_at: self.now(), oom_killed, error: None };
        self.end(exit);
    }

    fn end(&mut self, exit: ExitDetails) {
        let lasted = self.state.run().map_or(Duration::ZERO, |run| {
            let seconds = time::parse(&exit.exited_at).unwrap() - time::parse(&run.started_at).unwrap();
            seconds.to_std().unwrap()
        });
        let again = policy::after_end(&self.policy, self.restarts, exit.exit_code, lasted, self.cancelled);
        self.restarts = again.unwrap_or(self.restarts);
        self.shim = Shim::None;
        self.happen(Event::Ended { exit, restart_in: again.map(|again| again.delay_ms) });
    }

    fn remove(&mut self, todo: Todo) {
        match todo {
            Todo::Now => {}
            Todo::KillFirst => {
                self.cancelled = true;
                self.ends(137, false);
            }
            Todo::CancelRestart => self.happen(Event::RestartCancelled),
            other => panic!("a removal: {other:?}"),
        }
        self.finish_removal();
    }

    fn finish_removal(&mut self) {
        self.happen(Event::RemovalBegun);
        assert_eq!(self.state.word(), "removing");
        check(&self.state);
        if std::mem::take(&mut self.removal_fails) {
            self.happen(Event::RemovalFailed("device or resource busy".into()));
        } else {
            self.gone = true;
        }
    }

    /// Only what is durable is left: state, restarts and policy.
    fn engine_restarts(&mut self, meanwhile: Meanwhile) {
        let kept = serde_json::to_string(&self.state).unwrap();
        let state: State = serde_json::from_str(&kept).unwrap();
        assert_eq!(state, self.state, "{kept}");
        (self.state, self.cancelled) = (state, false);
        let exit = |code| ExitDetails { exit_code: code, exited_at: self.now(), oom_killed: false, error: None };
        let found = match (self.shim.clone(), meanwhile) {
            (Shim::None, _) | (_, Meanwhile::ItsShimDies | Meanwhile::TheHostBoots) => Found::Gone(None),
            (Shim::Serves(ShimPhase::Running { .. }), Meanwhile::ItEnds(code)) => {
                Found::Serving(ShimPhase::Exited(exit(code)))
            }
            (Shim::Serves(phase), Meanwhile::ItEnds(_) | Meanwhile::Nothing) => Found::Serving(phase),
        };
        if let Found::Gone(_) = found {
            self.shim = Shim::None;
        }
        match returned(&self.state, found.clone(), &self.now()) {
            Return::Attend(event) => {
                event.into_iter().for_each(|event| self.happen(event));
                // The shim tells at once that the run has ended, if it has.
                if let Found::Serving(ShimPhase::Exited(exit)) = found {
                    self.end(exit);
                }
            }
            Return::End(exit) => {
                let unknown = ExitDetails { exit_code: 255, exited_at: self.now(), oom_killed: false, error: None };
                self.end(exit.unwrap_or(unknown));
            }
            Return::UndoStart => self.happen(Event::StartLost),
            Return::Rest | Return::AwaitRestart => {}
            Return::Remove => return self.finish_removal(),
        }
        assert!(!self.state.is_starting(), "nobody would ever end this start");
        if policy::at_engine_start(&self.policy, self.restarts, &self.state) {
            self.start();
        }
    }
}

/// What Docker could show of a container: its word, its flags, pid, code and times.
fn check(state: &State) {
    let shown = state.shown();
    let zero = |time: &str| time == time::ZERO;
    let ContainerState { running, paused, restarting, dead, pid, exit_code, .. } = shown;
    let flags = (running, paused, restarting, dead);
    let text = state.status_text(None);
    let never = (zero(&shown.started_at), zero(&shown.finished_at)) == (true, true);
    let over = (zero(&shown.started_at), zero(&shown.finished_at)) == (false, false);
    match shown.status.as_str() {
        "created" => {
            assert_eq!((flags, pid, never), ((false, false, false, false), 0, true), "{state:?}");
            assert_eq!(exit_code == 0, shown.error.is_empty(), "{state:?}");
            assert_eq!(text, "Created");
        }
        "running" | "paused" => {
            let frozen = shown.status == "paused";
            assert_eq!((flags, exit_code), ((true, frozen, false, false), 0), "{state:?}");
            assert!(pid > 0 && !zero(&shown.started_at) && shown.error.is_empty() && !shown.oom_killed, "{state:?}");
            assert!(text.starts_with("Up ") && text.ends_with("(Paused)") == frozen, "{text}");
        }
        "restarting" => {
            assert_eq!((flags, pid, over), ((true, false, true, false), 0, true), "{state:?}");
            assert!(text.starts_with(&format!("Restarting ({exit_code}) ")), "{text}");
        }
        "exited" => {
            assert_eq!((flags, pid, over), ((false, false, false, false), 0, true), "{state:?}");
            assert!(text.starts_with(&format!("Exited ({exit_code}) ")), "{text}");
        }
        "removing" => {
            assert_eq!((flags, pid, never || over), ((false, false, false, true), 0, true), "{state:?}");
        }
        "dead" => {
            assert_eq!((flags, pid, never || over), ((false, false, false, true), 0, true), "{state:?}");
            assert!(!shown.error.is_empty());
            assert_eq!(text, "Dead");
        }
        other => panic!("Docker has no such word: {other}"),
    }
    assert_eq!(state.is_running(), running, "{state:?}");
    assert!(!shown.oom_killed || exit_code != 0 || !running, "{state:?}");
}

/// Words that may follow one another by one step of [`Life::step`].
fn follows(before: &str, after: &str) -> bool {
    match before {
        // It ran, so it is never again as if it had not.
        "running" | "paused" | "restarting" | "exited" => after != "created",
        "removing" => matches!(after, "removing" | "dead"),
        // Only another attempt to remove it leads out.
        "dead" => matches!(after, "dead" | "removing"),
        _ => true,
    }
}

fn policies() -> impl Strategy<Value = RestartPolicy> {
    let named = |name: &str, most| RestartPolicy { name: name.to_owned(), maximum_retry_count: most };
    prop_oneof![
        Just(named("no", 0)),
        Just(named("always", 0)),
        Just(named("unless-stopped", 0)),
        (0..4_i64).prop_map(move |most| named("on-failure", most)),
    ]
}

fn verbs() -> impl Strategy<Value = Verb> {
    prop_oneof![
        4 => Just(Verb::Start),
        2 => Just(Verb::Signal { ends: true }),
        1 => Just(Verb::Signal { ends: false }),
        2 => Just(Verb::Pause),
        2 => Just(Verb::Unpause),
        1 => Just(Verb::Rename),
        1 => Just(Verb::Remove { force: false }),
        1 => Just(Verb::Remove { force: true }),
        1 => Just(Verb::Attach),
        1 => Just(Verb::Exec),
        1 => Just(Verb::Files),
        1 => Just(Verb::Network),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let meanwhile = prop_oneof![
        Just(Meanwhile::Nothing),
        (0..3).prop_map(Meanwhile::ItEnds),
        Just(Meanwhile::ItsShimDies),
        Just(Meanwhile::TheHostBoots),
    ];
    prop_oneof![
        8 => verbs().prop_map(Step::Ask),
        1 => Just(Step::Restart),
        1 => policies().prop_map(Step::SetPolicy),
        5 => Just(Step::StartSucceeds),
        1 => (126..129).prop_map(Step::StartFails),
        4 => (0..3, any::<bool>(), 0..20_u64).prop_map(|(code, oom, after)| Step::Ends { code, oom: oom && code != 0, after }),
        1 => Just(Step::ShimDies),
        4 => Just(Step::BackoffOver),
        2 => meanwhile.prop_map(Step::EngineRestarts),
        1 => Just(Step::RemovalFails),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_life_shows_what_docker_could_not(policy in policies(), steps in prop::collection::vec(steps(), 1..60)) {
        let mut life = Life::new(policy);
        check(&life.state);
        for step in steps {
            let before = life.state.word();
            life.step(step.clone());
            let after = life.state.word();
            prop_assert!(follows(before, after), "{before} then {after} by {step:?}");
            check(&life.state);
            if life.gone {
                break;
            }
        }
    }

    /// A policy of so many tries is never exceeded while nobody starts the
    /// container anew, whether the engine lives or not.
    #[test]
    fn on_failure_is_bounded(most in 1..4_i64, engine_restarts in prop::collection::vec(any::<bool>(), 20)) {
        let mut life = Life::new(RestartPolicy { name: "on-failure".into(), maximum_retry_count: most });
        life.step(Step::Ask(Verb::Start));
        let mut runs = 0;
        for restart in engine_restarts {
            if life.state.is_starting() {
                life.step(Step::StartSucceeds);
                runs += 1;
            }
            life.step(Step::Ends { code: 1, oom: false, after: 0 });
            if restart {
                life.step(Step::EngineRestarts(Meanwhile::Nothing));
            }
            life.step(Step::BackoffOver);
        }
        prop_assert_eq!(runs, most + 1);
        prop_assert_eq!(life.restarts.count, most);
        prop_assert_eq!(life.state.word(), "exited");
    }

    /// What somebody has stopped stays so until somebody starts it, but for
    /// `always`, which the engine's start brings back.
    #[test]
    fn a_stop_is_remembered(policy in policies(), meanwhile in prop::collection::vec(any::<bool>(), 1..10)) {
        let mut life = Life::new(policy.clone());
        life.step(Step::Ask(Verb::Start));
        life.step(Step::StartSucceeds);
        life.step(Step::Ask(Verb::Signal { ends: true }));
        life.step(Step::Ends { code: 137, oom: false, after: 0 });
        prop_assert_eq!(life.state.word(), "exited");
        for engine in meanwhile {
            life.step(if engine { Step::EngineRestarts(Meanwhile::Nothing) } else { Step::BackoffOver });
            // As in Docker, these two come back with the engine.
            if engine && ["always", "on-failure"].contains(&policy.name.as_str()) {
                prop_assert!(life.state.is_starting());
                break;
            }
            prop_assert_eq!(life.state.word(), "exited");
            prop_assert!(!life.state.is_starting());
        }
    }
}

#[test]
fn refusals_in_dockers_words() {
    let exit = ExitDetails { exit_code: 1, exited_at: time::now(), oom_killed: false, error: None };
    let ended = Ended { started_at: time::now(), exit };
    let run = Run { pid: 1, started_at: time::now(), finished_before: None };
    let running = State::Running(run.clone());
    let paused = State::Paused(run);
    let exited = State::Exited(ended.clone());
    let restarting = State::Restarting(Backoff { ended: ended.clone(), delay_ms: 100 });
    let removing = State::Removing { before: Rest::Exited(ended.clone()) };
    let dead = State::Dead { before: Rest::Exited(ended), error: "busy".into() };
    let refused = |state: &State, verb| admit(state, verb, WHO).unwrap_err();
    let text = |state: &State, verb| refused(state, verb).message;
    let ends = Verb::Signal { ends: true };
    assert_eq!(refused(&running, Verb::Start).kind, ErrorKind::NotModified);
    assert_eq!(refused(&restarting, Verb::Start).kind, ErrorKind::NotModified);
    assert_eq!(text(&paused, Verb::Start), "cannot start a paused container, try unpause instead");
    assert_eq!(text(&dead, Verb::Start), "container is marked for removal and cannot be started");
    assert_eq!(text(&exited, ends), "container 0123456789ab is not running");
    assert_eq!(text(&paused, Verb::Pause), "Container 0123456789ab is already paused");
    let wait = "Container 0123456789ab is restarting, wait until the container is running";
    assert_eq!(text(&restarting, Verb::Pause), wait);
    assert_eq!(text(&restarting, Verb::Exec), wait);
    assert_eq!(text(&running, Verb::Unpause), "Container 0123456789ab is not paused");
    assert_eq!(text(&paused, Verb::Exec), "Container 0123456789ab is paused, unpause the container before exec");
    let rm = Verb::Remove { force: false };
    let stop = "stop the container before removing or force remove";
    assert_eq!(text(&running, rm), format!("cannot remove container \"/box\": container is running: {stop}"));
    assert_eq!(text(&restarting, rm), format!("cannot remove container \"/box\": container is restarting: {stop}"));
    assert_eq!(text(&paused, rm), "cannot remove container \"/box\": container is paused and must be unpaused first");
    assert_eq!(text(&removing, rm), "removal of container box is already in progress");
    assert_eq!(admit(&dead, rm, WHO).unwrap(), Todo::Now);
    assert_eq!(admit(&restarting, ends, WHO).unwrap(), Todo::CancelRestart);
    assert_eq!(admit(&restarting, Verb::Signal { ends: false }, WHO).unwrap(), Todo::Nothing);
    assert_eq!(admit(&paused, ends, WHO).unwrap(), Todo::AndThaw);
}
