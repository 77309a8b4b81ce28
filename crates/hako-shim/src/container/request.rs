//! What others ask of the container's task.

use crate::stdio::Streams;
use hako_model::{Error, ExitDetails, NetworkChange, ProcessList, Result};
use hako_sandbox::{Figures, Mount, Sandbox};
use hako_task::extra::MountRequest;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, oneshot, watch};

/// Where the answer goes. Whoever asked may have gone; that is no error.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;
/// How a process ended, once it has and its output is through.
pub(super) type ExitWatch = watch::Receiver<Option<ExitDetails>>;
/// A process: `None` is the container's first.
pub(crate) type Target = Option<String>;

/// What Create says.
#[derive(Debug)]
pub(crate) struct CreateArgs {
    pub(crate) bundle: PathBuf,
    pub(crate) terminal: bool,
    pub(crate) rootfs: Vec<Mount>,
}

/// What Exec says.
#[derive(Debug)]
pub(crate) struct ExecArgs {
    pub(crate) exec_id: String,
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
    pub(crate) process: Vec<u8>,
}

/// A process as State shows it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) bundle: PathBuf,
    pub(crate) pid: i32,
    pub(crate) terminal: bool,
    pub(crate) status: Status,
    pub(crate) exit: Option<ExitDetails>,
}

/// containerd's words for where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

/// A request that the sandbox answers and that changes no phase.
#[derive(Debug)]
pub(crate) enum Ask {
    Kill { target: Target, signal: u32, all: bool },
    Resize { target: Target, width: u16, height: u16 },
    CloseStdin(Target),
    Update(Vec<u8>),
    Network(NetworkChange),
}

/// A question to the sandbox that has an answer of its own.
pub(crate) enum Query {
    Pids(Reply<Vec<i32>>),
    Stats(Reply<Figures>),
    Processes(Reply<ProcessList>),
}

/// One request with its reply.
pub(crate) enum Request {
    Create(CreateArgs, Reply<i32>),
    Exec(ExecArgs, Reply<()>),
    Start(Target, Reply<i32>),
    Ask(Ask, Reply<()>),
    Query(Query),
    Pause(Reply<()>),
    Resume(Reply<()>),
    State(Target, Reply<View>),
    Wait(Target, Reply<ExitWatch>),
    Attach(Target, Reply<Arc<Streams>>),
    Mount(MountRequest, Reply<()>),
    /// Who has the container's files.
    Files(Reply<Arc<dyn Sandbox>>),
    Delete(Target, Reply<(i32, Option<ExitDetails>)>),
    Shutdown {
        now: bool,
        reply: Reply<()>,
    },
}

/// The way to the container's task.
#[derive(Clone)]
pub(crate) struct Handle(pub(super) mpsc::UnboundedSender<Request>);

fn gone() -> Error {
    Error::new(hako_model::ErrorKind::Unavailable, "the shim is ending")
}

impl Handle {
    /// Sends the request that `make` builds around a reply, and waits for that.
    pub(crate) async fn call<T>(&self, make: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(make(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The streams of a process.
    pub(crate) async fn streams(&self, exec_id: &str) -> Result<Arc<Streams>> {
        self.call(|reply| Request::Attach(target(exec_id), reply)).await
    }

    /// Waits until a process has ended and its output is through.
    pub(crate) async fn wait(&self, target: Target) -> Result<ExitDetails> {
        let mut exit = self.call(|reply| Request::Wait(target, reply)).await?;
        // The sender goes without a word where the process never came to be.
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| Error::not_found("process was not started"))?;
        ended.clone().ok_or_else(gone)
    }
}

/// The process that `exec_id` names.
pub(crate) fn target(exec_id: &str) -> Target {
    (!exec_id.is_empty()).then(|| exec_id.to_owned())
}
