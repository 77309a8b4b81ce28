//! What the owner of a container is asked, and what it hears.

use super::{
    actor::{AttachTicket, Reply},
    files,
    health::Health,
    kill,
    life::Verb,
    start::Started,
};
use crate::networks::record::{Asked, Network};
use hako_api::types::{ContainerConfig, HostConfig};
use hako_model::{Error, ExitDetails, Result};
use hako_task::stdio::AttachRequest;
use std::sync::Arc;

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
        /// Its anonymous volumes as well.
        volumes: bool,
        reply: Reply<()>,
    },
    Attach {
        request: AttachRequest,
        reply: Reply<AttachTicket>,
    },
    /// Other limits, another restart policy; fields that are not set stay.
    Update {
        asked: Box<HostConfig>,
        reply: Reply<()>,
    },
    /// Whether the end of a run keeps a container that is otherwise removed then.
    Keep {
        keep: bool,
        reply: Reply<()>,
    },
    /// Its place in a network, now or when it starts.
    Connect {
        network: Arc<Network>,
        asked: Asked,
        reply: Reply<()>,
    },
    /// No place in the network of this name.
    Disconnect {
        network: String,
        reply: Reply<()>,
    },
    /// Not what it calls `alias` any more; `name` is the client's word for that.
    Unlink {
        alias: String,
        name: String,
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
    /// Not asked: it has happened.
    Happened(Happened),
}

/// What the owner hears from its own helpers. Each has the number of the run
/// (or start) that it is about, so that a late one is not taken for the present.
pub(super) enum Happened {
    /// The start that runs beside the owner has ended.
    StartOver { run: u64, outcome: Result<Started> },
    /// A run has ended, or its shim has died.
    Ended { run: u64, exit: Result<ExitDetails> },
    /// The wait before a restart is over.
    BackoffOver { run: u64 },
    /// A probe of the health check has ended.
    Probed { monitor: u64, health: Health },
}

impl Request {
    /// The verb, as far as the state decides on it.
    pub(super) fn verb(&self, config: &ContainerConfig) -> Option<Verb> {
        Some(match self {
            Self::Start(_) => Verb::Start,
            Self::Kill { signal, .. } => Verb::Signal { ends: kill::ends(config, *signal) },
            Self::Pause(_) => Verb::Pause,
            Self::Unpause(_) => Verb::Unpause,
            Self::Rename { .. } => Verb::Rename,
            Self::Remove { force, .. } => Verb::Remove { force: *force },
            Self::Attach { .. } => Verb::Attach,
            Self::Update { .. } => Verb::Update,
            Self::Files(_) => Verb::Files,
            Self::Connect { .. } | Self::Disconnect { .. } | Self::Unlink { .. } => Verb::Network,
            Self::Keep { .. }
            | Self::FilesIdle { .. }
            | Self::FilesEnd(_)
            | Self::Hold(_)
            | Self::LetGo(_)
            | Self::Happened(_) => return None,
        })
    }

    /// Whether it is worth cutting off a start that takes too long.
    pub(super) fn is_deadly(&self) -> bool {
        match self {
            Self::Kill { signal, .. } => *signal == libc::SIGKILL,
            Self::Remove { force, .. } => *force,
            Self::Start(_)
            | Self::Pause(_)
            | Self::Unpause(_)
            | Self::Rename { .. }
            | Self::Attach { .. }
            | Self::Update { .. }
            | Self::Keep { .. }
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Unlink { .. }
            | Self::Files(_)
            | Self::FilesIdle { .. }
            | Self::FilesEnd(_)
            | Self::Hold(_)
            | Self::LetGo(_)
            | Self::Happened(_) => false,
        }
    }

    /// Answers with a refusal. A client that has gone does not hear it.
    pub(super) fn refuse(self, err: Error) {
        match self {
            Self::Start(reply)
            | Self::Kill { reply, .. }
            | Self::Pause(reply)
            | Self::Unpause(reply)
            | Self::Rename { reply, .. }
            | Self::Remove { reply, .. }
            | Self::Update { reply, .. }
            | Self::FilesEnd(reply)
            | Self::LetGo(reply)
            | Self::Connect { reply, .. }
            | Self::Disconnect { reply, .. }
            | Self::Unlink { reply, .. }
            | Self::Keep { reply, .. } => {
                let _ = reply.send(Err(err));
            }
            Self::Attach { reply, .. } => {
                let _ = reply.send(Err(err));
            }
            Self::Files(reply) => {
                let _ = reply.send(Err(err));
            }
            Self::Hold(reply) => {
                let _ = reply.send(Err(err));
            }
            Self::FilesIdle { .. } | Self::Happened(_) => {}
        }
    }
}
