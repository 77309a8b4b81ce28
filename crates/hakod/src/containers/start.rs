//! `POST /containers/{id}/start`, and every other start.
//!
//! A start runs beside the owner, who hears of its end. What is asked meanwhile
//! waits for that; behind the hyperv wall, where a start takes a boot, a deadly
//! request cuts a start off that goes on for too long.

use super::{
    actor::{Actor, Reply, Request as Ask},
    attach, end, files, health,
    life::Event,
    policy::Restarts,
    record::{Failure, Record, Run, State},
    remove,
    request::Happened,
};
use crate::{
    Engine,
    http::{Request, Response, no_content},
    networks,
    shim::{Live, ShimDir},
    spec,
    templates::pool::Idle,
    volumes,
};
use hako_api::time;
use hako_model::{Error, ErrorKind, Isolation, Result};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a deadly request lets a start go on.
const GRACE: Duration = Duration::from_secs(2);
/// When a restart is tried again that could not even be written down.
const LATER: Duration = Duration::from_secs(1);

/// A start that is under way.
pub(super) struct UnderWay {
    reply: Option<Reply<()>>,
    cut: CancellationToken,
    /// It will be cut off.
    cutting: bool,
}

/// What a start has brought.
pub(super) struct Started {
    live: Live,
    run: Run,
}

/// Starts a container; 304 if it runs.
pub async fn serve(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    container.ask(Ask::Start).await?;
    Ok(no_content())
}

/// Puts a request off until the start has ended.
pub(super) fn defer(actor: &mut Actor, request: Ask) {
    // A start behind the process wall takes no time, and half a runtime's work
    // cannot be undone from outside.
    if request.is_deadly()
        && actor.record.isolation == Isolation::Hyperv
        && let Some(start) = actor.start.as_mut().filter(|start| !start.cutting)
    {
        start.cutting = true;
        let cut = start.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            cut.cancel();
        });
    }
    actor.later.push(request);
}

/// In the owner: begins a start, whose end answers `reply`.
pub(super) async fn begin(actor: &mut Actor, reply: Option<Reply<()>>) {
    if let Err(err) = may_begin(&actor.record) {
        return answer(reply, Err(err));
    }
    files::give_way(actor).await;
    let restarts = actor.record.restarts;
    if !matches!(actor.record.state, State::Restarting(_)) {
        // Somebody starts it: what its policy did before counts no more.
        actor.record.restarts = Restarts::default();
    }
    if let Err(err) = actor.happen_soon(Event::StartBegun).await {
        actor.record.restarts = restarts;
        return answer(reply, Err(err));
    }
    actor.cancelled = false;
    actor.run += 1;
    let cut = CancellationToken::new();
    actor.start = Some(UnderWay { reply, cut: cut.clone(), cutting: false });
    let launch = Launch {
        engine: actor.engine.clone(),
        record: actor.record.clone(),
        pending: std::mem::take(&mut actor.pending),
        cut,
        waited: None,
    };
    let (run, ear) = (actor.run, actor.ear());
    tokio::spawn(async move {
        let outcome = tokio::spawn(launch.run()).await;
        let outcome = outcome.unwrap_or_else(|err| Err(Error::internal(format!("start: {err}"))));
        // The owner waits for this.
        let _ = ear.send(Ask::Happened(Happened::StartOver { run, outcome })).await;
    });
}

/// What a build's step had mounted is removed with it, or another's by now: a
/// cache has one user at a time.
fn may_begin(record: &Record) -> Result<()> {
    if record.step.is_empty() || matches!(record.state, State::Created { failure: None }) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "container {} was a step of a build, and what it had mounted by RUN --mount went with that: \
         it cannot be started again",
        record.id.short()
    )))
}

/// In the owner: the back-off is over.
pub(super) async fn again(actor: &mut Actor) {
    if !matches!(actor.record.state, State::Restarting(_)) {
        return;
    }
    begin(actor, None).await;
    if actor.start.is_none() {
        actor.await_restart(LATER);
    }
}

/// In the owner: the start has ended.
pub(super) async fn over(actor: &mut Actor, outcome: Result<Started>) {
    let Some(start) = actor.start.take() else { return };
    let result = match outcome {
        Ok(started) => began(actor, started).await,
        Err(err) => Err(failed(actor, err).await),
    };
    let cut_off = start.cut.is_cancelled() && result.is_err();
    answer(start.reply, result);
    for request in std::mem::take(&mut actor.later) {
        match request {
            Ask::Kill { signal: libc::SIGKILL, reply } if cut_off => {
                // It has done what it was sent for.
                actor.record.restarts.manually_stopped = true;
                let _ = reply.send(Ok(()));
            }
            other => actor.ready.push_back(other),
        }
    }
}

fn answer(reply: Option<Reply<()>>, result: Result<()>) {
    match reply {
        // The client may have gone.
        Some(reply) => drop(reply.send(result)),
        None => {
            if let Err(err) = result {
                tracing::warn!("restart: {err}");
            }
        }
    }
}

async fn began(actor: &mut Actor, started: Started) -> Result<()> {
    let Started { live, run } = started;
    actor.live = Some(live.clone());
    let health = actor.record.health.clone();
    health::reset(&mut actor.record);
    if let Err(err) = actor.happen(Event::Started(run)).await {
        actor.live = None;
        actor.record.health = health;
        end::end_sandbox(&actor.engine, &actor.record, Some(live), None).await;
        return Err(failed(actor, err).await);
    }
    actor.watch_run(live);
    health::attend(actor);
    actor.emit("start", &[]);
    Ok(())
}

async fn failed(actor: &mut Actor, err: Error) -> Error {
    let (exit_code, kind) = classify(&err.message);
    let kind = if err.kind == ErrorKind::Internal { kind } else { err.kind };
    end::must(actor, Event::StartFailed(Failure { exit_code, error: err.message.clone() })).await;
    if actor.record.host.auto_remove
        && let Err(err) = remove::finish(actor).await
    {
        tracing::error!("remove container {}: {err}", actor.record.id);
    }
    Error::new(kind, err.message)
}

/// From a record to a running process, beside the owner.
struct Launch {
    engine: Arc<Engine>,
    record: Record,
    /// Clients that are connected before the first byte. On an error they hear
    /// that there is nothing to hear.
    pending: Vec<attach::Pending>,
    cut: CancellationToken,
    /// A machine that has waited for it.
    waited: Option<Idle>,
}

impl Launch {
    /// On an error nothing is left.
    async fn run(self) -> Result<Started> {
        let (engine, record) = (self.engine.clone(), self.record.clone());
        volumes::mount::acquire(&engine, &record).await?;
        volumes::emit_mounts(&engine, &record);
        let started = self.run_on_networks().await;
        if started.is_err() {
            volumes::mount::release(&engine, record.id.as_str()).await;
            volumes::emit_unmounts(&engine, &record);
        }
        started
    }

    async fn run_on_networks(mut self) -> Result<Started> {
        let (engine, id) = (self.engine.clone(), self.record.id.clone());
        let machine = spec::machine(&engine, &self.record).await?;
        // Before the networks: one that waits does so in what becomes the container's namespace.
        let card = machine.is_some() && networks::has_card(&engine, &self.record);
        let waited = machine.as_ref().and_then(|machine| engine.templates.pool.take(machine.config(), card));
        let joined = networks::join(&engine, &self.record, waited.as_ref().and_then(Idle::netns)).await;
        let joined = match (joined, waited) {
            (Err(err), Some(waited)) => {
                waited.end(&engine).await;
                return Err(err);
            }
            (joined, waited) => {
                self.waited = waited;
                joined?
            }
        };
        let started = self.launch(machine, joined.as_ref()).await;
        if let Some(waited) = self.waited.take() {
            waited.end(&engine).await;
        }
        if started.is_err() {
            networks::leave(&engine, id.as_str()).await;
        }
        started
    }

    async fn launch(
        &mut self,
        machine: Option<spec::MachinePlan>,
        joined: Option<&networks::Joined>,
    ) -> Result<Started> {
        let id = self.record.id.as_str().to_owned();
        let dir = ShimDir::new(self.engine.shim_dir(&id));
        let engine = self.engine.clone();
        // Behind the process wall the shim starts while its bundle is written.
        let mut early = None;
        let ready = || {
            if self.record.isolation == Isolation::Process {
                early = Some(crate::shim::spawn(crate::programs::present(&engine.programs.shim)?, &dir)?);
            }
            Ok(())
        };
        let prepared = spec::prepare(&engine, &self.record, machine, &dir, joined, ready).await;
        let rootfs = match prepared {
            Ok(rootfs) if !self.cut.is_cancelled() => rootfs,
            other => {
                let err = other.err().unwrap_or_else(cut_off);
                match early {
                    Some(child) => self.abandon(child, &dir).await,
                    None => dir.remove()?,
                }
                return Err(err);
            }
        };
        let _turn = match self.record.isolation {
            Isolation::Process => None,
            Isolation::Hyperv => tokio::select! {
                // Nobody closes the semaphore.
                turn = engine.boots.acquire() => turn.ok(),
                () = self.cut.cancelled() => {
                    dir.remove()?;
                    return Err(cut_off());
                }
            },
        };
        let child = match self.shim(early, &dir, joined).await {
            Ok(child) => child,
            Err(err) => {
                dir.remove()?;
                return Err(err);
            }
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        reap(child);
        let cut = self.cut.clone();
        let (live, started) = match Live::connect(&id, dir.clone()) {
            Ok(live) => {
                let started = tokio::select! {
                    started = self.begin(&live, rootfs) => started,
                    () = cut.cancelled() => Err(cut_off()),
                };
                (Some(live), started)
            }
            Err(err) => (None, Err(err)),
        };
        match (live, started) {
            (Some(live), Ok(run)) => Ok(Started { live, run }),
            (_, Err(_)) if cut.is_cancelled() => {
                end::kill_sandbox(&self.engine, &self.record, pid).await;
                Err(cut_off())
            }
            (live, Err(err)) => {
                let words = dir.last_words();
                end::end_sandbox(&self.engine, &self.record, live, pid).await;
                Err(explain(err, &words))
            }
            (None, Ok(_)) => Err(Error::internal("a start without a shim")),
        }
    }

    /// The container's shim: one that was started already, one that has waited
    /// with a machine, or a new one.
    async fn shim(
        &mut self,
        early: Option<tokio::process::Child>,
        dir: &ShimDir,
        joined: Option<&networks::Joined>,
    ) -> Result<tokio::process::Child> {
        if let Some(early) = early {
            return Ok(early);
        }
        if let Some(waited) = self.waited.take() {
            match waited.hand_over(&self.engine, dir, joined.map(|joined| joined.namespace.as_path())).await {
                Ok(child) => return Ok(child),
                Err(err) => tracing::warn!("{err}"),
            }
        }
        crate::shim::spawn(crate::programs::present(&self.engine.programs.shim)?, dir)
    }

    /// Ends a shim for which there is nothing to do.
    async fn abandon(&self, child: tokio::process::Child, dir: &ShimDir) {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        reap(child);
        let live = Live::connect(self.record.id.as_str(), dir.clone()).ok();
        end::end_sandbox(&self.engine, &self.record, live, pid).await;
    }

    async fn begin(&mut self, live: &Live, rootfs: Vec<spec::RootMount>) -> Result<Run> {
        live.create(self.record.config.tty, rootfs).await.map_err(|err| runtime_words(&err))?;
        self.engine.templates.hear(&ShimDir::new(self.engine.shim_dir(self.record.id.as_str())));
        for pending in std::mem::take(&mut self.pending) {
            attach::connect(live, pending).await?;
        }
        let pid = live.start("").await?;
        Ok(Run { pid, started_at: time::now(), finished_before: None })
    }
}

fn cut_off() -> Error {
    Error::conflict("the container was killed while it was being started")
}

/// Collects the shim's exit status, whenever it comes.
pub(super) fn reap(mut child: tokio::process::Child) {
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            tracing::debug!("shim ended: {status}");
        }
    });
}

/// Docker's long form of what the runtime said.
fn runtime_words(err: &Error) -> Error {
    if err.kind == ErrorKind::Unavailable {
        return err.clone();
    }
    Error::new(
        err.kind,
        format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: \
             hako-runtime create failed: {}",
            err.message
        ),
    )
}

/// A shim that died on the way gets its last words into the error. One that
/// lives and lacks something has said itself what.
pub(super) fn explain(err: Error, words: &str) -> Error {
    if err.kind == ErrorKind::Unavailable && !words.trim().is_empty() {
        return Error::internal(format!("the shim ended too early: {words}"));
    }
    err
}

/// The exit code and the HTTP kind of a start that failed, as moby finds them in the text.
pub fn classify(message: &str) -> (i32, ErrorKind) {
    let has = |text: &str| message.contains(text);
    if has("executable file not found") || has("no such file or directory") || has("system cannot find the file") {
        (127, ErrorKind::InvalidParameter)
    } else if has("permission denied") || has("is a directory") {
        (126, ErrorKind::InvalidParameter)
    } else {
        (128, ErrorKind::Internal)
    }
}
