//! The task that owns one container. Handlers send it requests and read its
//! latest [`View`]; nobody else changes the record.
//!
//! Every change is durable before it is published, and published before it is
//! answered. A request runs to its end even if the client has gone.

use super::{attach, files, kill, pause, record::Record, record::State, recover, remove, rename, start};
use crate::{Engine, shim::Live};
use hako_model::{ContainerId, Error, ErrorKind, ExitDetails, Result};
use hako_task::stdio::AttachRequest;
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

type Reply<T> = oneshot::Sender<Result<T>>;

/// What a container shows.
pub struct View {
    /// Its record.
    pub record: Record,
    /// The connection to its shim, while it runs.
    pub live: Option<Live>,
    /// How many runs have ended since the engine knows it.
    pub exits: u64,
    /// The record is gone from the store.
    pub removed: bool,
}

/// A container, as the rest of the engine holds it.
pub struct Container {
    /// Its identifier.
    pub id: ContainerId,
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

/// A stdio connection that comes now, or when the container starts.
pub type AttachTicket = oneshot::Receiver<Result<UnixStream>>;

/// What the owner is asked.
pub(super) enum Request {
    Start(Reply<()>),
    Kill {
        signal: i32,
        reply: Reply<()>,
    },
    Pause(Reply<()>),
    Unpause(Reply<()>),
    Rename {
        name: String,
        reply: Reply<()>,
    },
    Remove {
        force: bool,
        reply: Reply<()>,
    },
    Attach {
        request: AttachRequest,
        reply: Reply<AttachTicket>,
    },
    /// Whether the end of a run keeps a container that is otherwise removed then.
    Keep {
        keep: bool,
        reply: Reply<()>,
    },
    /// For the container's files, whatever its state.
    Files(Reply<files::Lease>),
    /// From the watcher of a session: nobody has used it for a while.
    FilesIdle {
        session: u64,
    },
    /// Ends a session at once: the engine ends.
    FilesEnd(Reply<()>),
    /// Freezes a running container for a commit; whether it did.
    Hold(Reply<bool>),
    /// Thaws what [`Request::Hold`] froze.
    LetGo(Reply<()>),
    /// From the watcher of the run: how it ended, or that the shim has died.
    Ended {
        run: u64,
        exit: Result<ExitDetails>,
    },
}

/// The owner.
pub(super) struct Actor {
    pub(super) engine: Arc<Engine>,
    pub(super) record: Record,
    pub(super) live: Option<Live>,
    pub(super) exits: u64,
    /// Clients that wait for the start.
    pub(super) pending: Vec<attach::Pending>,
    /// The end of this run does not remove the container: it is being restarted.
    pub(super) keep: bool,
    /// How the files of a container that does not run are reached, for now.
    pub(super) files: Option<files::Session>,
    /// Frozen for a commit: the record in the store says that it runs.
    pub(super) held: bool,
    /// Counts starts, so that a late watcher is not taken for the present one.
    run: u64,
    removed: bool,
    me: mpsc::Sender<Request>,
    requests: mpsc::Receiver<Request>,
    view: watch::Sender<Arc<View>>,
}

impl Container {
    /// An owner for `record`, which is in the store, and a handle on it. The
    /// owner does nothing until [`Actor::run`] is spawned.
    pub(super) fn prepare(engine: Arc<Engine>, record: Record) -> (Arc<Self>, Actor) {
        let (me, requests) = mpsc::channel(16);
        let first = View { record: record.clone(), live: None, exits: 0, removed: false };
        let (sender, view) = watch::channel(Arc::new(first));
        let container = Self { id: record.id.clone(), requests: me.clone(), view };
        let actor = Actor {
            engine,
            record,
            live: None,
            exits: 0,
            pending: Vec::new(),
            keep: false,
            files: None,
            held: false,
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

    /// Waits until the container does not run, for at most `patience`; whether it does not.
    pub(super) async fn stopped_within(&self, patience: Option<std::time::Duration>) -> bool {
        let mut watch = self.watch();
        let stopped = async {
            // An error means that the container is removed, which is not running either.
            let _ = watch.wait_for(|view| view.removed || !view.record.state.is_running()).await;
        };
        match patience {
            Some(patience) => tokio::time::timeout(patience, stopped).await.is_ok(),
            None => {
                stopped.await;
                true
            }
        }
    }
}

impl Actor {
    /// Serves requests until the container is removed.
    pub(super) async fn run(mut self) {
        while !self.removed {
            let Some(request) = self.requests.recv().await else { return };
            self.serve(request).await;
        }
    }

    /// Answers one request. A client that has gone does not hear the answer.
    async fn serve(&mut self, request: Request) {
        match request {
            Request::Start(reply) => {
                let _ = reply.send(start::run(self).await);
            }
            Request::Kill { signal, reply } => {
                let _ = reply.send(kill::run(self, signal).await);
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
            Request::Remove { force, reply } => {
                let _ = reply.send(remove::run(self, force).await);
            }
            Request::Attach { request, reply } => {
                let _ = reply.send(attach::run(self, request).await);
            }
            Request::Keep { keep, reply } => {
                self.keep = keep;
                let _ = reply.send(Ok(()));
            }
            Request::Files(reply) => {
                // Who is not there any more leaves its lease by being dropped.
                let _ = reply.send(files::run(self).await);
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
            Request::Ended { run, exit } => {
                if run == self.run && self.live.is_some() {
                    recover::ended(self, exit).await;
                }
            }
        }
    }

    /// Takes `state`, durably, and shows it.
    pub(super) async fn set_state(&mut self, state: State) -> Result<()> {
        let old = std::mem::replace(&mut self.record.state, state);
        match self.save().await {
            Ok(()) => Ok(()),
            Err(err) => {
                self.record.state = old;
                Err(err)
            }
        }
    }

    /// Writes the record and shows it.
    pub(super) async fn save(&mut self) -> Result<()> {
        match &self.record.state {
            // A commit that is cut off must not leave the container frozen.
            State::Paused(run) if self.held => {
                let durable = Record { state: State::Running(run.clone()), ..self.record.clone() };
                save(&self.engine, &durable).await?;
            }
            State::Created { .. }
            | State::Starting { .. }
            | State::Running(_)
            | State::Paused(_)
            | State::Exited(_)
            | State::Removing => {
                self.held = false;
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
            exits: self.exits,
            removed: self.removed,
        }));
    }

    /// The container is gone; the loop ends after this request.
    pub(super) fn gone(&mut self) {
        self.removed = true;
        self.publish();
    }

    /// For sending requests to this owner.
    pub(super) fn mailbox(&self) -> mpsc::Sender<Request> {
        self.me.clone()
    }

    /// Waits for the end of the run of `live`, and tells the owner.
    pub(super) fn watch_run(&mut self, live: Live) {
        self.run += 1;
        let (run, me) = (self.run, self.me.clone());
        tokio::spawn(async move {
            let exit = live.wait("").await;
            // The owner may be gone: removed by force.
            let _ = me.send(Request::Ended { run, exit }).await;
        });
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
    let json = serde_json::to_string(record).map_err(|err| Error::internal(err.to_string()))?;
    let (store, id, name) = (engine.store.clone(), record.id.to_string(), record.name.clone());
    let written = tokio::task::spawn_blocking(move || store.put_container(&id, &name, &json)).await;
    match written {
        Ok(Ok(())) => Ok(()),
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
