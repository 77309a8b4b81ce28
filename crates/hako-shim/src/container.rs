//! The container's task. It alone changes the phase; whoever wants something
//! sends a [`Request`]. What takes time runs beside it and comes back as an
//! [`Event`], so that a kill is never behind a slow start.

mod lifecycle;
mod phase;
mod request;

use crate::{state, stdio::log::Log, wall};
use hako_model::{Error, ExitDetails, Result, SandboxConfig, ShimPhase};
use hako_sandbox::{Sandbox, Stdio, microvm::Waiting};
use phase::{Exec, Phase, Process, Verb};
use request::Reply;
pub(crate) use request::{Ask, CreateArgs, ExecArgs, Handle, Query, Request, Status, Target, View, target};
use std::{collections::HashMap, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// What comes back from beside the task.
enum Event {
    Created(Result<(i32, Stdio)>, Box<CreateDone>),
    ExecRegistered {
        exec_id: String,
        terminal: bool,
        registered: Result<Stdio>,
        reply: Reply<()>,
    },
    Started(Target, Result<i32>, Reply<i32>),
    Frozen(bool, Result<()>, Reply<()>),
    /// A process has ended; its output may still be on its way.
    Exited(Target, ExitDetails, oneshot::Sender<()>),
    Mounted(Result<()>, Reply<()>),
    Deleted(Result<()>, Reply<(i32, Option<ExitDetails>)>),
    ExecDeleted(String, Result<()>, Reply<(i32, Option<ExitDetails>)>),
    /// Everything that Shutdown had to end has ended.
    Ended(Result<()>, Reply<()>),
}

/// What Create's completion needs.
struct CreateDone {
    terminal: bool,
    log: Option<Log>,
    reply: Reply<i32>,
}

struct Container {
    dir: PathBuf,
    config: SandboxConfig,
    sandbox: Arc<dyn Sandbox>,
    bundle: PathBuf,
    phase: Phase,
    execs: HashMap<String, Exec>,
    events: mpsc::UnboundedSender<Event>,
}

/// Starts the container's task. The receiver hears when Shutdown is done.
pub(crate) fn spawn(
    dir: PathBuf,
    config: SandboxConfig,
    waiting: Option<Waiting>,
) -> Result<(Handle, oneshot::Receiver<()>)> {
    state::save(&dir, None, ShimPhase::Empty)?;
    let sandbox = wall::build(&config, &dir, waiting)?;
    let (requests, incoming) = mpsc::unbounded_channel();
    let (events, happened) = mpsc::unbounded_channel();
    let (ended, end) = oneshot::channel();
    let container = Container {
        bundle: dir.join("bundle"),
        dir,
        config,
        sandbox,
        phase: Phase::Empty,
        execs: HashMap::new(),
        events,
    };
    tokio::spawn(container.run(incoming, happened, ended));
    Ok((Handle(requests), end))
}

/// Answers; whoever asked may have gone.
fn answer<T>(reply: Reply<T>, result: Result<T>) {
    let _ = reply.send(result);
}

impl Container {
    async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        mut events: mpsc::UnboundedReceiver<Event>,
        ended: oneshot::Sender<()>,
    ) {
        loop {
            let end = tokio::select! {
                // Events first: what has happened decides what may be asked.
                biased;
                Some(event) = events.recv() => self.happen(event),
                Some(request) = requests.recv() => self.request(request),
                else => true,
            };
            if end {
                break;
            }
        }
        // The receiver is gone only with the whole process.
        let _ = ended.send(());
    }

    /// Handles a request; true once the task is to end.
    fn request(&mut self, request: Request) -> bool {
        match request {
            Request::Create(args, reply) => self.create(args, reply),
            Request::Exec(args, reply) => self.exec(args, reply),
            Request::Start(target, reply) => self.start(target, reply),
            Request::Ask(ask, reply) => self.ask(ask, reply),
            Request::Query(query) => self.query(query),
            Request::Pause(reply) => self.freeze(true, reply),
            Request::Resume(reply) => self.freeze(false, reply),
            Request::State(target, reply) => answer(reply, self.view(target.as_deref())),
            Request::Wait(target, reply) => answer(reply, self.process(target.as_deref()).map(|p| p.exit.clone())),
            Request::Attach(target, reply) => {
                answer(reply, self.process(target.as_deref()).map(|p| p.streams.clone()));
            }
            Request::Mount(req, reply) => self.mount(req, reply),
            Request::Files(reply) => {
                answer(reply, self.phase.admit(Verb::Files).map(|()| self.sandbox.clone()));
            }
            Request::Delete(None, reply) => self.delete(reply),
            Request::Delete(Some(exec_id), reply) => self.delete_exec(exec_id, reply),
            Request::Shutdown { now, reply } => return self.shutdown(now, reply),
        }
        false
    }

    /// Handles an event; true once the task is to end.
    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Created(result, done) => self.created(result, *done),
            Event::ExecRegistered { exec_id, terminal, registered, reply } => {
                answer(reply, self.exec_registered(exec_id, terminal, registered));
            }
            Event::Started(target, result, reply) => answer(reply, self.started(target, result)),
            Event::Frozen(frozen, result, reply) => answer(reply, self.frozen(frozen, result)),
            Event::Exited(target, details, saved) => self.exited(target, details, saved),
            Event::Mounted(result, reply) => answer(reply, self.mounted(result)),
            Event::Deleted(result, reply) => answer(reply, self.deleted(result)),
            Event::ExecDeleted(id, result, reply) => answer(reply, self.exec_deleted(&id, result)),
            Event::Ended(result, reply) => {
                let end = result.is_ok();
                answer(reply, result);
                return end;
            }
        }
        false
    }

    /// Runs `work` beside the task and sends what it makes of it back.
    fn beside(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = work.await;
            // Nobody receives once the task has ended: then nobody cares.
            let _ = events.send(event);
        });
    }

    fn process(&self, exec_id: Option<&str>) -> Result<&Process> {
        match exec_id {
            None => self.phase.process().ok_or_else(|| Error::not_found("container is not created")),
            Some(id) => self.exec_of(id)?.process(),
        }
    }

    fn exec_of(&self, exec_id: &str) -> Result<&Exec> {
        self.execs.get(exec_id).ok_or_else(|| Error::not_found(format!("no such exec: {exec_id}")))
    }

    fn view(&self, exec_id: Option<&str>) -> Result<View> {
        let absent = || Error::not_found("container is not created");
        let (status, exit) = match exec_id {
            None => self.phase.status().ok_or_else(absent)?,
            Some(id) => self.exec_of(id)?.status(),
        };
        let process = self.process(exec_id).ok();
        Ok(View {
            bundle: self.bundle.clone(),
            pid: process.map_or(0, |process| process.pid),
            terminal: process.is_some_and(|process| process.streams.tty()),
            status,
            exit,
        })
    }

    fn ask(&self, ask: Ask, reply: Reply<()>) {
        if let Err(err) = self.admit_ask(&ask) {
            return answer(reply, Err(err));
        }
        let sandbox = self.sandbox.clone();
        let streams = match &ask {
            Ask::CloseStdin(target) => self.process(target.as_deref()).ok().map(|process| process.streams.clone()),
            Ask::Kill { .. } | Ask::Resize { .. } | Ask::Update(_) | Ask::Network(_) => None,
        };
        tokio::spawn(async move {
            let done = match ask {
                Ask::Kill { target, signal, all } => sandbox.kill(target.as_deref(), signal, all).await,
                Ask::Resize { target, width, height } => sandbox.resize(target.as_deref(), width, height).await,
                Ask::Update(resources) => sandbox.update(resources).await,
                Ask::Network(change) => sandbox.network(change).await,
                Ask::CloseStdin(_) => {
                    if let Some(streams) = streams {
                        streams.close_stdin().await;
                    }
                    Ok(())
                }
            };
            answer(reply, done);
        });
    }

    fn admit_ask(&self, ask: &Ask) -> Result<()> {
        match ask {
            // What is left of an ended container may still be killed.
            Ask::Kill { target: None, all: true, .. } if matches!(self.phase, Phase::Exited(..)) => Ok(()),
            Ask::Kill { target: None, .. } => self.phase.admit(Verb::Kill),
            Ask::Resize { target: None, .. } | Ask::Update(_) | Ask::Network(_) => self.phase.admit(Verb::Use),
            Ask::Kill { target: Some(id), .. } => self.exec_of(id)?.running().map(drop),
            // A tty may be sized before its process runs; the sandbox knows whether.
            Ask::Resize { target: Some(id), .. } => self.exec_of(id)?.process().map(drop),
            Ask::CloseStdin(target) => self.process(target.as_deref()).map(drop),
        }
    }

    fn query(&self, query: Query) {
        let admitted = self.phase.admit(Verb::Use);
        let sandbox = self.sandbox.clone();
        tokio::spawn(async move {
            match (query, admitted) {
                (Query::Pids(reply), Ok(())) => answer(reply, sandbox.pids().await),
                (Query::Stats(reply), Ok(())) => answer(reply, sandbox.stats().await),
                (Query::Processes(reply), Ok(())) => answer(reply, sandbox.processes().await),
                (Query::Pids(reply), Err(err)) => answer(reply, Err(err)),
                (Query::Stats(reply), Err(err)) => answer(reply, Err(err)),
                (Query::Processes(reply), Err(err)) => answer(reply, Err(err)),
            }
        });
    }

    fn save(&self, phase: ShimPhase) -> Result<()> {
        state::save(&self.dir, self.sandbox.vm(), phase)
    }
}
