//! The verbs that change a phase, and what comes of them.

use super::{
    Container, CreateArgs, CreateDone, Event, ExecArgs, Target, answer,
    phase::{Exec, Phase, Process, Verb},
    request::Reply,
};
use crate::stdio::{self, StdinEnd, Streams, log::Log};
use hako_model::{Error, ExitDetails, Result, ShimPhase};
use hako_sandbox::{CreateRequest, Stdio, StdioRequest};
use hako_task::extra::MountRequest;
use std::{sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};

/// When a container that has been started is taken to be there for a while.
const SETTLE: Duration = Duration::from_millis(500);

/// Tells `Wait` how a process ended.
pub(super) type ExitSender = watch::Sender<Option<ExitDetails>>;

impl Container {
    pub(super) fn create(&mut self, args: CreateArgs, reply: Reply<i32>) {
        if let Err(err) = self.phase.admit(Verb::Create) {
            return answer(reply, Err(err));
        }
        let log = match Log::open(&self.config.log) {
            Ok(log) => log,
            Err(err) => return answer(reply, Err(err)),
        };
        self.phase = Phase::Creating;
        self.bundle.clone_from(&args.bundle);
        let request = CreateRequest {
            id: self.config.id.to_string(),
            bundle: args.bundle,
            rootfs: args.rootfs,
            stdio: StdioRequest { terminal: args.terminal, stdin: self.config.open_stdin },
        };
        let sandbox = self.sandbox.clone();
        let terminal = args.terminal;
        self.beside(async move {
            Event::Created(sandbox.create(request).await, Box::new(CreateDone { terminal, log, reply }))
        });
    }

    pub(super) fn created(&mut self, result: Result<(i32, Stdio)>, done: CreateDone) {
        let (pid, stdio) = match result {
            Ok(created) => created,
            Err(err) => {
                self.phase = Phase::Empty;
                return answer(done.reply, Err(err));
            }
        };
        // What the end of a client's input means for the first process.
        let end = if self.config.stdin_once { StdinEnd::Close } else { StdinEnd::Keep };
        let streams = stdio::start(stdio, done.terminal, end, done.log);
        let (sender, exit) = watch::channel(None);
        self.watch_exit(None, streams.clone(), sender);
        self.phase = Phase::Created(Process { pid, streams, exit });
        let saved = self.save(ShimPhase::Created { pid });
        answer(done.reply, saved.map(|()| pid));
    }

    pub(super) fn mount(&mut self, req: MountRequest, reply: Reply<()>) {
        if let Err(err) = self.phase.admit(Verb::Mount) {
            return answer(reply, Err(err));
        }
        self.phase = Phase::Mounting;
        let sandbox = self.sandbox.clone();
        self.beside(async move { Event::Mounted(sandbox.mount(req).await, reply) });
    }

    pub(super) fn mounted(&mut self, result: Result<()>) -> Result<()> {
        self.phase = if result.is_ok() { Phase::Mounted } else { Phase::Empty };
        result?;
        // The VM is known by it.
        self.save(ShimPhase::Empty)
    }

    pub(super) fn exec(&mut self, args: ExecArgs, reply: Reply<()>) {
        if let Err(err) = self.phase.admit(Verb::Use) {
            return answer(reply, Err(err));
        }
        let sandbox = self.sandbox.clone();
        let ExecArgs { exec_id, terminal, stdin, process } = args;
        self.beside(async move {
            let registered = sandbox.exec(&exec_id, process, StdioRequest { terminal, stdin }).await;
            Event::ExecRegistered { exec_id, terminal, registered, reply }
        });
    }

    pub(super) fn exec_registered(&mut self, exec_id: String, terminal: bool, registered: Result<Stdio>) -> Result<()> {
        let streams = stdio::start(registered?, terminal, StdinEnd::Close, None);
        let (sender, exit) = watch::channel(None);
        self.execs.insert(exec_id, Exec::Registered(Process { pid: 0, streams, exit }, sender));
        Ok(())
    }

    pub(super) fn start(&mut self, target: Target, reply: Reply<i32>) {
        if let Err(err) = self.enter_start(&target) {
            return answer(reply, Err(err));
        }
        let sandbox = self.sandbox.clone();
        self.beside(async move {
            let started = sandbox.start(target.as_deref()).await;
            Event::Started(target, started, reply)
        });
    }

    fn enter_start(&mut self, target: &Target) -> Result<()> {
        let Some(id) = target else {
            self.phase.admit(Verb::Start)?;
            self.phase.change(|phase| match phase {
                Phase::Created(process) => Phase::Starting(process),
                other => other,
            });
            return Ok(());
        };
        match self.execs.remove(id) {
            Some(Exec::Registered(process, sender)) => {
                self.execs.insert(id.clone(), Exec::Starting(process, sender));
                Ok(())
            }
            Some(other) => {
                self.execs.insert(id.clone(), other);
                Err(Error::conflict(format!("exec {id} has been started already")))
            }
            None => Err(Error::not_found(format!("no such exec: {id}"))),
        }
    }

    pub(super) fn started(&mut self, target: Target, result: Result<i32>) -> Result<i32> {
        let Some(id) = target else { return self.init_started(result) };
        let Some(Exec::Starting(process, sender)) = self.execs.remove(&id) else {
            return Err(Error::conflict(format!("exec {id} was deleted while it was started")));
        };
        match result {
            Ok(pid) => {
                self.watch_exit(Some(id.clone()), process.streams.clone(), sender);
                self.execs.insert(id, Exec::Running(Process { pid, ..process }));
                Ok(pid)
            }
            Err(err) => {
                finish(process.streams);
                self.execs.insert(id, Exec::Failed);
                Err(err)
            }
        }
    }

    fn init_started(&mut self, result: Result<i32>) -> Result<i32> {
        let failed = result.is_err();
        self.phase.change(|phase| match phase {
            Phase::Starting(process) if failed => Phase::Created(process),
            Phase::Starting(process) => Phase::Running(process),
            // It has ended already.
            other => other,
        });
        let pid = result?;
        if matches!(self.phase, Phase::Running(_)) {
            self.save(ShimPhase::Running { pid })?;
        }
        tokio::spawn(async {
            tokio::time::sleep(SETTLE).await;
            hako_os::process::trim_memory();
        });
        Ok(pid)
    }

    pub(super) fn freeze(&mut self, frozen: bool, reply: Reply<()>) {
        let verb = if frozen { Verb::Pause } else { Verb::Resume };
        if let Err(err) = self.phase.admit(verb) {
            return answer(reply, Err(err));
        }
        let sandbox = self.sandbox.clone();
        self.beside(async move {
            let done = if frozen { sandbox.pause().await } else { sandbox.resume().await };
            Event::Frozen(frozen, done, reply)
        });
    }

    pub(super) fn frozen(&mut self, frozen: bool, result: Result<()>) -> Result<()> {
        result?;
        self.phase.change(|phase| match phase {
            Phase::Running(process) if frozen => Phase::Paused(process),
            Phase::Paused(process) if !frozen => Phase::Running(process),
            // It has ended meanwhile, or been asked twice.
            other => other,
        });
        Ok(())
    }

    /// Waits for a process's end beside the task. `Wait` is answered once the
    /// end is durable and the output is through.
    fn watch_exit(&self, target: Target, streams: Arc<Streams>, sender: ExitSender) {
        let (sandbox, events) = (self.sandbox.clone(), self.events.clone());
        tokio::spawn(async move {
            let details = sandbox.wait(target.as_deref()).await.unwrap_or_else(unknown_end);
            let (saved, is_saved) = oneshot::channel();
            // Without the task there is nobody to tell, and nothing to wait for.
            let _ = events.send(Event::Exited(target, details.clone(), saved));
            let _ = is_saved.await;
            streams.drained().await;
            streams.finish();
            sender.send_replace(Some(details));
        });
    }

    pub(super) fn exited(&mut self, target: Target, details: ExitDetails, saved: oneshot::Sender<()>) {
        match target {
            None => {
                if let Err(err) = self.save(ShimPhase::Exited(details.clone())) {
                    // The end is told all the same; it only would not outlive this process.
                    tracing::error!("{err}");
                }
                self.phase.change(|phase| match phase {
                    Phase::Created(process)
                    | Phase::Starting(process)
                    | Phase::Running(process)
                    | Phase::Paused(process)
                    | Phase::Exited(process, _) => Phase::Exited(process, details),
                    Phase::Deleting(process, _) => Phase::Deleting(process, Some(details)),
                    other @ (Phase::Empty
                    | Phase::Creating
                    | Phase::Mounting
                    | Phase::Mounted
                    | Phase::Unmounting
                    | Phase::Deleted) => other,
                });
            }
            Some(id) => {
                if let Some(Exec::Running(process)) = self.execs.remove(&id) {
                    self.execs.insert(id, Exec::Exited(process, details));
                }
            }
        }
        // The watcher waits for no more than this.
        let _ = saved.send(());
    }

    pub(super) fn delete(&mut self, reply: Reply<(i32, Option<ExitDetails>)>) {
        if let Err(err) = self.phase.admit(Verb::Delete) {
            return answer(reply, Err(err));
        }
        self.phase.change(|phase| match phase {
            Phase::Created(process) => Phase::Deleting(process, None),
            Phase::Exited(process, details) => Phase::Deleting(process, Some(details)),
            Phase::Mounted => Phase::Unmounting,
            other => other,
        });
        let sandbox = self.sandbox.clone();
        self.beside(async move { Event::Deleted(sandbox.delete(None).await, reply) });
    }

    pub(super) fn deleted(&mut self, result: Result<()>) -> Result<(i32, Option<ExitDetails>)> {
        let (pid, details) = match &self.phase {
            Phase::Deleting(process, details) => (process.pid, details.clone()),
            Phase::Unmounting => (0, None),
            _ => return Err(Error::internal("the container was not being deleted")),
        };
        let failed = result.is_err();
        self.phase.change(|phase| match phase {
            Phase::Deleting(process, Some(details)) if failed => Phase::Exited(process, details),
            Phase::Deleting(process, None) if failed => Phase::Created(process),
            Phase::Unmounting if failed => Phase::Mounted,
            _ => Phase::Deleted,
        });
        result?;
        self.execs.clear();
        Ok((pid, details))
    }

    pub(super) fn delete_exec(&mut self, exec_id: String, reply: Reply<(i32, Option<ExitDetails>)>) {
        let deletable = self.exec_of(&exec_id).and_then(|exec| match exec {
            Exec::Registered(..) | Exec::Exited(..) | Exec::Failed => Ok(()),
            Exec::Starting(..) | Exec::Running(_) => Err(Error::conflict(format!("exec {exec_id} is running"))),
        });
        if let Err(err) = deletable {
            return answer(reply, Err(err));
        }
        let sandbox = self.sandbox.clone();
        self.beside(async move {
            let deleted = sandbox.delete(Some(&exec_id)).await;
            Event::ExecDeleted(exec_id, deleted, reply)
        });
    }

    pub(super) fn exec_deleted(&mut self, exec_id: &str, result: Result<()>) -> Result<(i32, Option<ExitDetails>)> {
        result?;
        match self.execs.remove(exec_id) {
            Some(Exec::Exited(process, details)) => Ok((process.pid, Some(details))),
            Some(Exec::Registered(process, _)) => {
                finish(process.streams);
                Ok((0, None))
            }
            Some(Exec::Failed) | None => Ok((0, None)),
            Some(running @ (Exec::Starting(..) | Exec::Running(_))) => {
                self.execs.insert(exec_id.to_owned(), running);
                Err(Error::conflict(format!("exec {exec_id} is running")))
            }
        }
    }

    /// True if the task ends at once.
    pub(super) fn shutdown(&mut self, now: bool, reply: Reply<()>) -> bool {
        match self.phase.admit(Verb::Shutdown) {
            Ok(()) => {
                answer(reply, Ok(()));
                true
            }
            Err(err) if !now || (self.phase.process().is_none() && !matches!(self.phase, Phase::Mounted)) => {
                answer(reply, Err(err));
                false
            }
            Err(_) => {
                let sandbox = self.sandbox.clone();
                self.beside(async move { Event::Ended(sandbox.delete(None).await, reply) });
                false
            }
        }
    }
}

/// Gives the clients of a process that will not run their end.
fn finish(streams: Arc<Streams>) {
    tokio::spawn(async move {
        streams.drained().await;
        streams.finish();
    });
}

/// The end of a process that the sandbox has lost.
fn unknown_end(err: Error) -> ExitDetails {
    ExitDetails {
        exit_code: 255,
        exited_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        oom_killed: false,
        error: Some(err.message),
    }
}
