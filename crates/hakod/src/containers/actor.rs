//! The task that owns one container. Handlers send it requests and read its
//! latest [`View`]; nobody else changes the record.
//!
//! Every change is durable before it is published, and published before it is
//! answered. A request runs to its end even if the client has gone. What may be
//! done in which state is said by [`life`], not here. A start runs beside the
//! owner, so that what comes meanwhile is known: it waits in `later` for the
//! start's end, and what is deadly cuts a start off that takes too long.

use super::{
    attach, end, files,
    health::{Health, Monitor},
    kill,
    life::{self, Event, Todo, Who},
    network, pause,
    record::{Record, State},
    remove, rename,
    request::Happened,
    start, update,
    view::Ends,
};
use crate::{Engine, shim::Live};
use hako_model::{ContainerId, Error, ErrorKind, Result};
use hako_store::Store;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

pub(super) use super::request::Request;
pub use super::view::View;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// A container, as the rest of the engine holds it.
pub struct Container {
    /// Its identifier.
    pub id: ContainerId,
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    /// Somebody removes it.
    removal: AtomicBool,
}

/// Held by whoever removes a container.
pub(super) struct Removal<'a>(&'a AtomicBool);

/// A stdio connection that comes now, or when the container starts.
pub type AttachTicket = oneshot::Receiver<Result<UnixStream>>;

/// The owner.
pub(super) struct Actor {
    pub(super) engine: Arc<Engine>,
    pub(super) record: Record,
    pub(super) live: Option<Live>,
    pub(super) ends: Ends,
    /// Clients that wait for the start.
    pub(super) pending: Vec<attach::Pending>,
    /// The end of this run does not remove the container: it is being restarted.
    pub(super) keep: bool,
    /// How the files of a container that does not run are reached, for now.
    pub(super) files: Option<files::Session>,
    /// Frozen for this many commits: the record in the store says that it runs.
    pub(super) held: usize,
    /// Somebody has ended this run: the restart policy does not act on it.
    pub(super) cancelled: bool,
    /// The start that is under way.
    pub(super) start: Option<start::UnderWay>,
    /// What waits for the end of the start.
    pub(super) later: Vec<Request>,
    /// What has waited and is to be served before anything new.
    pub(super) ready: VecDeque<Request>,
    /// Runs the health check; dropped, it stops.
    pub(super) monitor: Option<Monitor>,
    /// Counts starts, runs and waits, so that what is said of an earlier one is
    /// not taken for the present one's.
    pub(super) run: u64,
    removed: bool,
    me: mpsc::Sender<Request>,
    requests: mpsc::Receiver<Request>,
    view: watch::Sender<Arc<View>>,
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Container {
    /// An owner for `record`, which is in the store, and a handle on it. The
    /// owner does nothing until [`Actor::run`] is spawned.
    pub(super) fn prepare(engine: Arc<Engine>, record: Record) -> (Arc<Self>, Actor) {
        let (me, requests) = mpsc::channel(16);
        let first = View { record: record.clone(), live: None, ends: Ends::default(), removed: false };
        let (sender, view) = watch::channel(Arc::new(first));
        let removal = AtomicBool::new(false);
        let container = Self { id: record.id.clone(), requests: me.clone(), view, removal };
        let actor = Actor {
            engine,
            record,
            live: None,
            ends: Ends::default(),
            pending: Vec::new(),
            keep: false,
            files: None,
            held: 0,
            cancelled: false,
            start: None,
            later: Vec::new(),
            ready: VecDeque::new(),
            monitor: None,
            run: 0,
            removed: false,
            me,
            requests,
            view: sender,
        };
        (Arc::new(container), actor)
    }

    /// What the container shows now.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// For waiting on changes. Closed once the container is removed.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// The connection to the shim of a running container.
    ///
    /// # Errors
    /// Docker's words where it does not run.
    pub fn live(&self) -> Result<Live> {
        let view = self.view();
        view.live.clone().ok_or_else(|| Error::conflict(format!("container {} is not running", self.id)))
    }

    pub(super) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let gone = || Error::new(ErrorKind::NotFound, format!("No such container: {}", self.id));
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Waits until a run has ended after `ends` of them, or the container does
    /// not run, for at most `patience`; whether it is so.
    pub(super) async fn ended_within(&self, ends: u64, patience: Option<Duration>) -> bool {
        let mut watch = self.watch();
        let over = |view: &Arc<View>| {
            let state = &view.record.state;
            view.removed || view.ends.count() > ends || !(state.is_running() || state.is_starting())
        };
        let ended = async {
            // An error means that the container is removed, which is not running either.
            let _ = watch.wait_for(over).await;
        };
        match patience {
            Some(patience) => tokio::time::timeout(patience, ended).await.is_ok(),
            None => {
                ended.await;
                true
            }
        }
    }

    /// Takes the one removal that a container has at a time.
    pub(super) fn begin_removal(&self) -> Option<Removal<'_>> {
        let taken = self.removal.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok().then(|| Removal(&self.removal))
    }
}

impl Actor {
    /// Serves requests until the container is removed.
    pub(super) async fn run(mut self) {
        while !self.removed {
            let request = match self.ready.pop_front() {
                Some(request) => request,
                None => match self.requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            // Boxed: what a request needs while it is served is not kept by every
            // container that waits for one, which would be 10 KiB each.
            Box::pin(self.serve(request)).await;
        }
    }

    /// Asks [`life`] what a request comes to, and does that.
    async fn serve(&mut self, request: Request) {
        let Some(verb) = request.verb(&self.record.config) else {
            return self.note(request).await;
        };
        let who = Who { id: self.record.id.as_str(), name: &self.record.name };
        match life::admit(&self.record.state, verb, who) {
            Ok(Todo::AfterStart) => start::defer(self, request),
            Ok(todo) => self.answer(request, todo).await,
            Err(refusal) => request.refuse(refusal),
        }
    }

    /// Requests on which the state does not decide.
    async fn note(&mut self, request: Request) {
        match request {
            Request::Keep { keep, reply } => {
                self.keep = keep;
                let _ = reply.send(Ok(()));
            }
            Request::FilesIdle { session } => files::idle(self, session).await,
            Request::FilesEnd(reply) => {
                files::end(self).await;
                let _ = reply.send(Ok(()));
            }
            Request::Hold(reply) => {
                let _ = reply.send(pause::run_hold(self).await);
            }
            Request::LetGo(reply) => {
                let _ = reply.send(pause::run_let_go(self).await);
            }
            Request::Happened(happened) => self.hear(happened).await,
            Request::Start(_)
            | Request::Kill { .. }
            | Request::Pause(_)
            | Request::Unpause(_)
            | Request::Rename { .. }
            | Request::Remove { .. }
            | Request::Attach { .. }
            | Request::Files(_)
            | Request::Connect { .. }
            | Request::Disconnect { .. }
            | Request::Unlink { .. }
            | Request::Update { .. } => request.refuse(Error::internal("a verb without a name")),
        }
    }

    /// Answers one request. A client that has gone does not hear the answer.
    async fn answer(&mut self, request: Request, todo: Todo) {
        match request {
            Request::Start(reply) => start::begin(self, Some(reply)).await,
            Request::Kill { signal, reply } => {
                let _ = reply.send(kill::run(self, signal, todo).await);
            }
            Request::Pause(reply) => {
                let _ = reply.send(pause::run_pause(self).await);
            }
            Request::Unpause(reply) => {
                let _ = reply.send(pause::run_unpause(self).await);
            }
            Request::Rename { name, reply } => {
                let _ = reply.send(rename::run(self, name).await);
            }
            Request::Remove { volumes, reply, .. } => {
                let _ = reply.send(remove::run(self, todo, volumes).await);
            }
            Request::Attach { request, reply } => {
                let _ = reply.send(attach::run(self, request, todo).await);
            }
            Request::Update { asked, reply } => {
                let _ = reply.send(update::run(self, &asked).await);
            }
            Request::Connect { network, asked, reply } => {
                let _ = reply.send(network::connect(self, network, asked).await);
            }
            Request::Disconnect { network, reply } => {
                let _ = reply.send(network::disconnect(self, &network).await);
            }
            Request::Unlink { alias, name, reply } => {
                let _ = reply.send(network::unlink(self, &alias, &name).await);
            }
            Request::Files(reply) => {
                // Who is not there any more leaves its lease by being dropped.
                let _ = reply.send(files::run(self).await);
            }
            Request::Keep { .. }
            | Request::FilesIdle { .. }
            | Request::FilesEnd(_)
            | Request::Hold(_)
            | Request::LetGo(_)
            | Request::Happened(_) => self.note(request).await,
        }
    }

    async fn hear(&mut self, happened: Happened) {
        match happened {
            Happened::StartOver { run, outcome } if run == self.run => start::over(self, outcome).await,
            Happened::Ended { run, exit } if run == self.run && self.live.is_some() => end::ended(self, exit).await,
            Happened::BackoffOver { run } if run == self.run => start::again(self).await,
            Happened::Probed { monitor, health } => self.probed(monitor, health),
            // Of an earlier run.
            Happened::StartOver { .. } | Happened::Ended { .. } | Happened::BackoffOver { .. } => {}
        }
    }

    /// Takes the state after `event`, durably, and shows it.
    pub(super) async fn happen(&mut self, event: Event) -> Result<()> {
        let old = self.record.state.clone();
        self.record.state = life::next(old.clone(), event);
        match self.save().await {
            Ok(()) => Ok(()),
            Err(err) => {
                self.record.state = old;
                Err(err)
            }
        }
    }

    /// Takes the state after `event` and shows it. Written down it is when the
    /// kernel comes to it: after a crash of the machine it would be as if nothing
    /// had happened, and nothing of what has happened would be left either.
    pub(super) async fn happen_soon(&mut self, event: Event) -> Result<()> {
        let next = Record { state: life::next(self.record.state.clone(), event), ..self.record.clone() };
        write(&self.engine, &next, Store::put_container_soon).await?;
        self.record = next;
        self.publish();
        Ok(())
    }

    /// Takes the state after `event` and shows it, for an event that a restart
    /// of the engine finds again.
    pub(super) fn take(&mut self, event: Event) {
        self.record.state = life::next(self.record.state.clone(), event);
        self.publish();
    }

    /// Writes the record and shows it.
    pub(super) async fn save(&mut self) -> Result<()> {
        match &self.record.state {
            // A commit that is cut off must not leave the container frozen.
            State::Paused(run) if self.held > 0 => {
                let durable = Record { state: State::Running(run.clone()), ..self.record.clone() };
                save(&self.engine, &durable).await?;
            }
            State::Created { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Paused(_)
            | State::Restarting(_)
            | State::Exited(_)
            | State::Removing { .. }
            | State::Dead { .. } => {
                self.held = 0;
                save(&self.engine, &self.record).await?;
            }
        }
        self.publish();
        Ok(())
    }

    /// Shows what is now.
    pub(super) fn publish(&self) {
        self.view.send_replace(Arc::new(View {
            record: self.record.clone(),
            live: self.live.clone(),
            ends: self.ends.clone(),
            removed: self.removed,
        }));
    }

    /// The container is gone; the loop ends after this request.
    pub(super) fn gone(&mut self) {
        self.removed = true;
        self.monitor = None;
        self.publish();
    }

    /// Whether [`Actor::gone`] was called.
    pub(super) fn is_gone(&self) -> bool {
        self.removed
    }

    /// The way by which the owner hears from its helpers.
    pub(super) fn ear(&self) -> mpsc::Sender<Request> {
        self.me.clone()
    }

    /// What the container shows, for a helper that lives as long as a run.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Waits for the end of the run of `live`, and tells the owner.
    pub(super) fn watch_run(&mut self, live: Live) {
        self.run += 1;
        let (run, me) = (self.run, self.me.clone());
        tokio::spawn(async move {
            let exit = live.wait("").await;
            // The owner may be gone: removed by force.
            let _ = me.send(Request::Happened(Happened::Ended { run, exit })).await;
        });
    }

    /// Waits out the back-off, and tells the owner.
    pub(super) fn await_restart(&mut self, delay: Duration) {
        self.run += 1;
        let (run, me) = (self.run, self.me.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // The owner may be gone: removed by force.
            let _ = me.send(Request::Happened(Happened::BackoffOver { run })).await;
        });
    }

    /// Takes what a probe has found.
    fn probed(&mut self, monitor: u64, health: Health) {
        if self.monitor.as_ref().is_none_or(|present| present.number != monitor) {
            return;
        }
        let before = self.record.health.replace(health);
        self.publish();
        let status = self.record.health.as_ref().map(|health| health.status);
        if let Some(status) = status
            && before.is_none_or(|before| before.status != status)
        {
            self.emit(&format!("health_status: {status}"), &[]);
        }
    }

    /// Whether the container goes when its run has ended (`--rm`).
    pub(super) fn goes_with_its_run(&self) -> bool {
        self.record.host.auto_remove && !self.keep
    }

    /// Emits an event about this container.
    pub(super) fn emit(&self, action: &str, more: &[(&str, String)]) {
        emit(&self.engine, &self.record, action, more);
    }
}

/// Writes a record, durable before this returns.
pub(super) async fn save(engine: &Engine, record: &Record) -> Result<()> {
    write(engine, record, Store::put_container).await
}

async fn write(
    engine: &Engine,
    record: &Record,
    put: fn(&Store, &str, &str, &str, &str) -> hako_store::Result<()>,
) -> Result<()> {
    let json = serde_json::to_string(record).map_err(|err| Error::internal(err.to_string()))?;
    let (store, id, name) = (engine.store.clone(), record.id.to_string(), record.name.clone());
    let image = record.image_id.clone();
    let written = tokio::task::spawn_blocking(move || put(&store, &id, &name, &image, &json)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        // It was removed since the container's making began: clients pull, and ask again.
        Ok(Err(hako_store::Error::NotFound(_))) => {
            Err(Error::not_found(format!("No such image: {}", record.config.image)))
        }
        Ok(Err(err)) => Err(Error::internal(format!("record of container {}: {err}", record.id))),
        Err(err) => Err(Error::internal(err.to_string())),
    }
}

/// Emits an event about the container of `record`.
pub fn emit(engine: &Engine, record: &Record, action: &str, more: &[(&str, String)]) {
    let mut attributes: BTreeMap<String, String> = record.config.labels.clone();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    engine.events.emit("container", action, record.id.as_str(), attributes);
}
