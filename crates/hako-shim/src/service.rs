//! `containerd.task.v3.Task`: messages in, requests to the container's task out.

use crate::container::{Ask, CreateArgs, ExecArgs, Handle, Query, Request, Status, View, target};
use async_trait::async_trait;
use hako_model::{Error, ExitDetails, Result};
use hako_sandbox::Mount;
use hako_task::{
    error::to_ttrpc,
    protos::{
        protobuf::{
            EnumOrUnknown, MessageField,
            well_known_types::{any::Any, empty::Empty, timestamp::Timestamp},
        },
        types::task as types,
    },
    task as api,
    task_service::Task,
    ttrpc::{self, r#async::TtrpcContext},
};
use std::path::PathBuf;

/// The service.
pub(crate) struct TaskService {
    id: String,
    container: Handle,
}

impl TaskService {
    pub(crate) fn new(id: String, container: Handle) -> Self {
        Self { id, container }
    }

    /// A shim serves one container.
    fn check(&self, id: &str) -> Result<()> {
        if id == self.id { Ok(()) } else { Err(Error::not_found(format!("no such container: {id}"))) }
    }

    async fn ask(&self, id: &str, ask: Ask) -> ttrpc::Result<Empty> {
        answer(async {
            self.check(id)?;
            self.container.call(|reply| Request::Ask(ask, reply)).await?;
            Ok(Empty::new())
        })
        .await
    }
}

async fn answer<T>(work: impl Future<Output = Result<T>>) -> ttrpc::Result<T> {
    work.await.map_err(|err| to_ttrpc(&err))
}

/// A pid or an exit code: never negative.
fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn timestamp(details: &ExitDetails) -> MessageField<Timestamp> {
    let Ok(time) = chrono::DateTime::parse_from_rfc3339(&details.exited_at) else { return MessageField::none() };
    let mut stamp = Timestamp::new();
    stamp.seconds = time.timestamp();
    stamp.nanos = time.timestamp_subsec_nanos().cast_signed();
    MessageField::some(stamp)
}

fn any(type_url: String, value: Vec<u8>) -> MessageField<Any> {
    let mut any = Any::new();
    any.type_url = type_url;
    any.value = value;
    MessageField::some(any)
}

fn status(status: Status) -> EnumOrUnknown<types::Status> {
    EnumOrUnknown::new(match status {
        Status::Created => types::Status::CREATED,
        Status::Running => types::Status::RUNNING,
        Status::Paused => types::Status::PAUSED,
        Status::Stopped => types::Status::STOPPED,
    })
}

fn cells(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| Error::invalid(format!("tty size {number} is too large")))
}

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _ctx: &TtrpcContext, req: api::CreateTaskRequest) -> ttrpc::Result<api::CreateTaskResponse> {
        answer(async {
            self.check(&req.id)?;
            if !req.checkpoint.is_empty() {
                return Err(Error::unsupported("create from a checkpoint"));
            }
            let mount = |mount: hako_task::protos::types::mount::Mount| Mount {
                kind: mount.type_,
                source: mount.source,
                target: mount.target,
                options: mount.options,
            };
            let args = CreateArgs {
                bundle: PathBuf::from(req.bundle),
                terminal: req.terminal,
                rootfs: req.rootfs.into_iter().map(mount).collect(),
            };
            let mut reply = api::CreateTaskResponse::new();
            reply.pid = unsigned(self.container.call(|to| Request::Create(args, to)).await?);
            Ok(reply)
        })
        .await
    }

    async fn exec(&self, _ctx: &TtrpcContext, req: api::ExecProcessRequest) -> ttrpc::Result<Empty> {
        answer(async {
            self.check(&req.id)?;
            if req.exec_id.is_empty() {
                return Err(Error::invalid("exec needs an exec id"));
            }
            let args = ExecArgs {
                exec_id: req.exec_id,
                terminal: req.terminal,
                stdin: !req.stdin.is_empty(),
                process: req.spec.into_option().unwrap_or_default().value,
            };
            self.container.call(|to| Request::Exec(args, to)).await?;
            Ok(Empty::new())
        })
        .await
    }

    async fn start(&self, _ctx: &TtrpcContext, req: api::StartRequest) -> ttrpc::Result<api::StartResponse> {
        answer(async {
            self.check(&req.id)?;
            let mut reply = api::StartResponse::new();
            reply.pid = unsigned(self.container.call(|to| Request::Start(target(&req.exec_id), to)).await?);
            Ok(reply)
        })
        .await
    }

    async fn state(&self, _ctx: &TtrpcContext, req: api::StateRequest) -> ttrpc::Result<api::StateResponse> {
        answer(async {
            self.check(&req.id)?;
            let view: View = self.container.call(|to| Request::State(target(&req.exec_id), to)).await?;
            let mut reply = api::StateResponse::new();
            reply.id = req.id;
            reply.exec_id = req.exec_id;
            reply.bundle = view.bundle.to_string_lossy().into_owned();
            reply.pid = unsigned(view.pid);
            reply.status = status(view.status);
            reply.terminal = view.terminal;
            if let Some(details) = view.exit {
                reply.exit_status = unsigned(details.exit_code);
                reply.exited_at = timestamp(&details);
            }
            Ok(reply)
        })
        .await
    }

    async fn wait(&self, _ctx: &TtrpcContext, req: api::WaitRequest) -> ttrpc::Result<api::WaitResponse> {
        answer(async {
            self.check(&req.id)?;
            let details = self.container.wait(target(&req.exec_id)).await?;
            let mut reply = api::WaitResponse::new();
            reply.exit_status = unsigned(details.exit_code);
            reply.exited_at = timestamp(&details);
            Ok(reply)
        })
        .await
    }

    async fn delete(&self, _ctx: &TtrpcContext, req: api::DeleteRequest) -> ttrpc::Result<api::DeleteResponse> {
        answer(async {
            self.check(&req.id)?;
            let (pid, details) = self.container.call(|to| Request::Delete(target(&req.exec_id), to)).await?;
            let mut reply = api::DeleteResponse::new();
            reply.pid = unsigned(pid);
            if let Some(details) = details {
                reply.exit_status = unsigned(details.exit_code);
                reply.exited_at = timestamp(&details);
            }
            Ok(reply)
        })
        .await
    }

    async fn kill(&self, _ctx: &TtrpcContext, req: api::KillRequest) -> ttrpc::Result<Empty> {
        let ask = Ask::Kill { target: target(&req.exec_id), signal: req.signal, all: req.all };
        self.ask(&req.id, ask).await
    }

    async fn resize_pty(&self, _ctx: &TtrpcContext, req: api::ResizePtyRequest) -> ttrpc::Result<Empty> {
        let size = answer(async { Ok((cells(req.width)?, cells(req.height)?)) }).await;
        let (width, height) = size?;
        self.ask(&req.id, Ask::Resize { target: target(&req.exec_id), width, height }).await
    }

    async fn close_io(&self, _ctx: &TtrpcContext, req: api::CloseIORequest) -> ttrpc::Result<Empty> {
        if !req.stdin {
            return Ok(Empty::new());
        }
        self.ask(&req.id, Ask::CloseStdin(target(&req.exec_id))).await
    }

    async fn update(&self, _ctx: &TtrpcContext, req: api::UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let resources = req.resources.into_option().unwrap_or_default().value;
        self.ask(&req.id, Ask::Update(resources)).await
    }

    async fn pids(&self, _ctx: &TtrpcContext, req: api::PidsRequest) -> ttrpc::Result<api::PidsResponse> {
        answer(async {
            self.check(&req.id)?;
            let pids = self.container.call(|to| Request::Query(Query::Pids(to))).await?;
            let mut reply = api::PidsResponse::new();
            reply.processes = pids
                .into_iter()
                .map(|pid| {
                    let mut info = types::ProcessInfo::new();
                    info.pid = unsigned(pid);
                    info
                })
                .collect();
            Ok(reply)
        })
        .await
    }

    async fn stats(&self, _ctx: &TtrpcContext, req: api::StatsRequest) -> ttrpc::Result<api::StatsResponse> {
        answer(async {
            self.check(&req.id)?;
            let figures = self.container.call(|to| Request::Query(Query::Stats(to))).await?;
            let mut reply = api::StatsResponse::new();
            reply.stats = any(figures.type_url, figures.metrics);
            Ok(reply)
        })
        .await
    }

    async fn pause(&self, _ctx: &TtrpcContext, req: api::PauseRequest) -> ttrpc::Result<Empty> {
        answer(async {
            self.check(&req.id)?;
            self.container.call(Request::Pause).await?;
            Ok(Empty::new())
        })
        .await
    }

    async fn resume(&self, _ctx: &TtrpcContext, req: api::ResumeRequest) -> ttrpc::Result<Empty> {
        answer(async {
            self.check(&req.id)?;
            self.container.call(Request::Resume).await?;
            Ok(Empty::new())
        })
        .await
    }

    async fn checkpoint(&self, _ctx: &TtrpcContext, _req: api::CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Err(to_ttrpc(&Error::unsupported("checkpoint")))
    }

    async fn connect(&self, _ctx: &TtrpcContext, req: api::ConnectRequest) -> ttrpc::Result<api::ConnectResponse> {
        answer(async {
            self.check(&req.id)?;
            let mut reply = api::ConnectResponse::new();
            reply.shim_pid = std::process::id();
            reply.version = env!("CARGO_PKG_VERSION").to_owned();
            // A shim without a container yet has no task, and is reached all the same.
            if let Ok(view) = self.container.call(|to| Request::State(None, to)).await {
                reply.task_pid = unsigned(view.pid);
            }
            Ok(reply)
        })
        .await
    }

    async fn shutdown(&self, _ctx: &TtrpcContext, req: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        answer(async {
            self.check(&req.id)?;
            self.container.call(|reply| Request::Shutdown { now: req.now, reply }).await?;
            Ok(Empty::new())
        })
        .await
    }
}
