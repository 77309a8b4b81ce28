//! The connection to one shim: Task and Extra over one ttrpc connection, and
//! stdio connections on demand.

use super::ShimDir;
use hako_model::{Error, ErrorKind, ExitDetails, NetworkChange, ProcessList, Result, resources::Resources};
use hako_task::{
    error::from_ttrpc,
    extra::{ExtraClient, FiguresReply, MountRequest, NetworkRequest, ProcessRef},
    files::{self, FilesReply, FilesRequest},
    protos::{protobuf::MessageField, protobuf::well_known_types::any::Any, types::mount::Mount},
    stdio::{AttachReply, AttachRequest, ClientHead, read_line, write_line},
    task::{
        CloseIORequest, CreateTaskRequest, DeleteRequest, ExecProcessRequest, KillRequest, PauseRequest,
        ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, UpdateTaskRequest,
    },
    task_service::TaskClient,
    ttrpc::{
        asynchronous::{Client, transport::Socket},
        context::{Context, with_duration},
    },
};
use std::time::Duration;
use tokio::net::UnixStream;

/// What every quick request may take.
const QUICK: Duration = Duration::from_secs(30);

/// A shim that serves.
#[derive(Clone)]
pub struct Live {
    id: String,
    dir: ShimDir,
    task: TaskClient,
    extra: ExtraClient,
}

/// A request that ends in reasonable time, whatever the shim does.
fn quick() -> Context {
    with_duration(QUICK)
}

/// The same for a request of Extra, which has no deadline of its own.
async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::new(ErrorKind::DeadlineExceeded, "the shim does not answer");
    tokio::time::timeout(QUICK, work).await.map_err(|_| late())?
}

impl Live {
    /// Connects to the shim of `dir`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(id: &str, dir: ShimDir) -> Result<Self> {
        let client = Client::new(Socket::new(dir.connect("task.sock")?));
        Ok(Self { id: id.to_owned(), dir, task: TaskClient::new(client.clone()), extra: ExtraClient::new(client) })
    }

    /// The shim's folder.
    #[must_use]
    pub fn dir(&self) -> &ShimDir {
        &self.dir
    }

    /// Makes the container; its first process waits for `start`. Takes as long
    /// as a boot, so the shim's own deadlines are the only ones.
    ///
    /// # Errors
    /// The shim's.
    pub async fn create(&self, terminal: bool, rootfs: Vec<Mount>) -> Result<()> {
        let request = CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.dir.bundle().display().to_string(),
            terminal,
            rootfs,
            ..CreateTaskRequest::default()
        };
        self.task.create(Context::default(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Starts the first process (`exec_id` empty) or an exec; answers its pid.
    ///
    /// # Errors
    /// The shim's.
    pub async fn start(&self, exec_id: &str) -> Result<i64> {
        let request = StartRequest { id: self.id.clone(), exec_id: exec_id.to_owned(), ..StartRequest::default() };
        let answer = self.task.start(Context::default(), &request).await.map_err(from_ttrpc)?;
        Ok(i64::from(answer.pid))
    }

    /// Registers an exec.
    ///
    /// # Errors
    /// The shim's.
    pub async fn exec(&self, exec_id: &str, process: Vec<u8>, terminal: bool, stdin: bool) -> Result<()> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process,
            ..Any::default()
        };
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            terminal,
            stdin: if stdin { "1".to_owned() } else { String::new() },
            spec: MessageField::some(spec),
            ..ExecProcessRequest::default()
        };
        self.task.exec(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The shim's; `NotFound` where the process has ended.
    pub async fn kill(&self, exec_id: &str, signal: i32, all: bool) -> Result<()> {
        let request = KillRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            signal: u32::try_from(signal).unwrap_or_default(),
            all,
            ..KillRequest::default()
        };
        self.task.kill(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Waits for a process's end and its last output; any number may wait.
    ///
    /// # Errors
    /// `Unavailable` where the shim has died.
    pub async fn wait(&self, exec_id: &str) -> Result<ExitDetails> {
        let process = ProcessRef { id: self.id.clone(), exec_id: exec_id.to_owned() };
        // As `Task.Wait` it is answered when the output is complete.
        self.extra.exit_details(&process).await
    }

    /// What the container uses.
    ///
    /// # Errors
    /// The shim's.
    pub async fn figures(&self) -> Result<FiguresReply> {
        within(self.extra.figures(&self.whole())).await
    }

    /// Changes the network of a guest that runs.
    ///
    /// # Errors
    /// The shim's.
    pub async fn network(&self, change: NetworkChange) -> Result<()> {
        within(self.extra.network(&NetworkRequest { id: self.id.clone(), change, by_stream: false })).await
    }

    /// The container's processes.
    ///
    /// # Errors
    /// The shim's.
    pub async fn processes(&self) -> Result<ProcessList> {
        within(self.extra.processes(&self.whole())).await
    }

    fn whole(&self) -> ProcessRef {
        ProcessRef { id: self.id.clone(), exec_id: String::new() }
    }

    /// Sets the size of a tty.
    ///
    /// # Errors
    /// The shim's.
    pub async fn resize(&self, exec_id: &str, width: u32, height: u32) -> Result<()> {
        let request = ResizePtyRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            width,
            height,
            ..ResizePtyRequest::default()
        };
        self.task.resize_pty(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Closes a process's stdin.
    ///
    /// # Errors
    /// The shim's.
    pub async fn close_stdin(&self, exec_id: &str) -> Result<()> {
        let request = CloseIORequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            stdin: true,
            ..CloseIORequest::default()
        };
        self.task.close_io(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Freezes the container.
    ///
    /// # Errors
    /// The shim's.
    pub async fn pause(&self) -> Result<()> {
        let request = PauseRequest { id: self.id.clone(), ..PauseRequest::default() };
        self.task.pause(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Thaws it.
    ///
    /// # Errors
    /// The shim's.
    pub async fn resume(&self) -> Result<()> {
        let request = ResumeRequest { id: self.id.clone(), ..ResumeRequest::default() };
        self.task.resume(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Changes the container's limits. A guest may have to grow for them.
    ///
    /// # Errors
    /// The shim's.
    pub async fn update(&self, limits: &Resources) -> Result<()> {
        let value = serde_json::to_vec(limits).map_err(|err| Error::internal(err.to_string()))?;
        let limits = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
            value,
            ..Any::default()
        };
        let request = UpdateTaskRequest {
            id: self.id.clone(),
            resources: MessageField::some(limits),
            ..UpdateTaskRequest::default()
        };
        self.task.update(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Forgets an ended exec, or ends the sandbox.
    ///
    /// # Errors
    /// The shim's.
    pub async fn delete(&self, exec_id: &str) -> Result<()> {
        let request = DeleteRequest { id: self.id.clone(), exec_id: exec_id.to_owned(), ..DeleteRequest::default() };
        self.task.delete(quick(), &request).await.map_err(from_ttrpc)?;
        Ok(())
    }

    /// Mounts the root filesystem for its files alone. Takes as long as a boot.
    ///
    /// # Errors
    /// The shim's.
    pub async fn mount(&self, request: &MountRequest) -> Result<()> {
        self.extra.mount(request).await
    }

    /// A connection on which a request for files has been granted.
    ///
    /// # Errors
    /// The shim's; it has gone.
    pub async fn files(&self, request: &FilesRequest) -> Result<(UnixStream, FilesReply)> {
        let mut stream = self.dir.connect("stdio.sock")?;
        let head = ClientHead::Files { files: request.clone() };
        write_line(&mut stream, &head).await.map_err(|err| files::broken(&err))?;
        let reply = files::read_reply(&mut stream).await?;
        Ok((stream, reply))
    }

    /// Ends the shim.
    ///
    /// # Errors
    /// The shim's; a connection that breaks is what shutting down looks like.
    pub async fn shutdown(&self) -> Result<()> {
        let request = ShutdownRequest { id: self.id.clone(), now: true, ..ShutdownRequest::default() };
        match self.task.shutdown(quick(), &request).await.map_err(from_ttrpc) {
            Err(err) if err.kind != ErrorKind::Unavailable => Err(err),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A stdio connection, attached.
    ///
    /// # Errors
    /// The shim refuses or has gone.
    pub async fn attach(&self, request: &AttachRequest) -> Result<UnixStream> {
        let mut stream = self.dir.connect("stdio.sock")?;
        write_line(&mut stream, request).await?;
        let reply: AttachReply = read_line(&mut stream).await?;
        match reply.error {
            None => Ok(stream),
            Some(err) => Err(Error::internal(format!("attach: {err}"))),
        }
    }
}
