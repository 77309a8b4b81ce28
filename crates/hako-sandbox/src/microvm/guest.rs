//! A booted guest: the calls to its agent, and its end.

use super::{
    boot::configure,
    figures,
    group::Group,
    grow::Size,
    network::Links,
    rest::Rest,
    shares::ShareServer,
    stdio::{open_stdio, open_stream},
};
use crate::{CreateRequest, Figures, Stdio, StdioRequest};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{SecondsFormat, Utc};
use hako_model::{
    Error, ErrorKind, ExitDetails, Origin, ProcessList, Result, SandboxConfig, VmConfig, VmProcess,
    resources::Resources,
};
use hako_qemu::{KillSwitch, Vm};
use hako_task::{
    error::from_ttrpc,
    extra::{BUNDLE_TYPE_URL, Bundle, BundleFile, ExtraClient, GrowReply, GrowRequest, MountRequest, ProcessRef},
    files::FilesRequest,
    mux::Mux,
    protos::{api::Mount as TaskMount, protobuf::well_known_types::any::Any},
    stdio::StreamHead,
    task,
    task_service::TaskClient,
    ttrpc::{self, context},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Mutex, watch},
    task::JoinHandle,
    time::timeout,
};

/// How long a guest may take to unmount and sync before it is ended by force:
/// what it has not synced by then is lost. Below the half minute after which
/// hakod gives up on the shim's answer.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// How long one that syncs nothing may take.
const SHUTDOWN_NOW: Duration = Duration::from_millis(500);
/// How long the agent may take to accept a stream, on a host that is very busy.
const ANSWER: Duration = Duration::from_secs(60);
/// How long QEMU may take to obey `quit`.
const QUIT: Duration = Duration::from_secs(2);
/// Once the channel broke, QEMU's own end is at most this far.
const SETTLE: Duration = Duration::from_millis(500);
/// A bundle is a spec and a few small files.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;
/// How much of a container's files is moved at once.
const CHUNK: usize = 64 << 10;
pub(super) const SIGKILL: u32 = 9;
/// What a killed VM's processes are said to have ended with: 128 + SIGKILL.
const KILLED: i32 = 137;

/// A guest whose agent has answered.
#[derive(Debug)]
pub(super) struct Guest {
    id: String,
    config: SandboxConfig,
    pid: i32,
    origin: Origin,
    pub(super) vm: Mutex<Vm>,
    switch: KillSwitch,
    ended: watch::Sender<bool>,
    pub(super) rest: Mutex<Rest>,
    pub(super) size: Mutex<Size>,
    pub(super) group: Group,
    pub(super) links: Mutex<Links>,
    pub(super) mux: Mux,
    channel: JoinHandle<std::io::Result<()>>,
    task: TaskClientDebug,
    extra: ExtraDebug,
    shares: Option<ShareServer>,
}

/// The generated clients print nothing of themselves.
struct TaskClientDebug(TaskClient);
struct ExtraDebug(ExtraClient);

impl std::fmt::Debug for TaskClientDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskClient")
    }
}

impl std::fmt::Debug for ExtraDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExtraClient")
    }
}

/// ttrpc's deadline of a call: none. The VM's end breaks the channel, which ends them all.
fn ctx() -> context::Context {
    context::with_timeout(0)
}

fn name(exec_id: Option<&str>) -> String {
    exec_id.unwrap_or_default().to_owned()
}

fn pid(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(0)
}

fn any(type_url: &str, value: Vec<u8>) -> Any {
    Any { type_url: type_url.to_owned(), value, ..Any::default() }
}

/// The longest error of a guest that is kept, in characters.
const MAX_ERROR: usize = 4096;

/// What a guest says of an end, as far as it can be true: it is stored and
/// shown to clients, and the guest is not trusted.
fn believed(exit: ExitDetails) -> ExitDetails {
    let exited_at = match chrono::DateTime::parse_from_rfc3339(&exit.exited_at) {
        Ok(_) => exit.exited_at,
        Err(_) => Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
    };
    let error = exit.error.map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect());
    ExitDetails { exit_code: exit.exit_code.clamp(0, 255), exited_at, oom_killed: exit.oom_killed, error }
}

/// What a booted VM consists of.
pub(super) struct Parts {
    pub vm: Vm,
    pub mux: Mux,
    pub channel: JoinHandle<std::io::Result<()>>,
    pub task: TaskClient,
    pub extra: ExtraClient,
    pub shares: Option<ShareServer>,
    pub origin: Origin,
}

impl Guest {
    pub fn new(config: SandboxConfig, machine: &VmConfig, group: Group, parts: Parts) -> Self {
        let Parts { vm, mux, channel, task, extra, shares, origin } = parts;
        Self {
            id: config.id.to_string(),
            config,
            pid: vm.pid(),
            origin,
            switch: vm.kill_switch(),
            ended: watch::Sender::new(false),
            vm: Mutex::new(vm),
            rest: Mutex::default(),
            size: Mutex::new(Size::of(machine)),
            links: Mutex::new(Links::of(machine.network.as_ref())),
            group,
            mux,
            channel,
            task: TaskClientDebug(task),
            extra: ExtraDebug(extra),
            shares,
        }
    }

    /// The machine, of which nobody has anything.
    pub fn into_parts(self) -> Parts {
        let Self { origin, vm, mux, channel, task, extra, shares, .. } = self;
        Parts { vm: vm.into_inner(), mux, channel, task: task.0, extra: extra.0, shares, origin }
    }

    /// QEMU's process, while the agent's channel lives.
    pub fn process(&self) -> Option<VmProcess> {
        (!self.channel.is_finished()).then(|| VmProcess { pid: self.pid, origin: self.origin.clone() })
    }

    /// Asks the agent; a machine that is halted is woken for it.
    async fn ask<T>(&self, request: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.awake(async { self.answer(request.await).await }).await
    }

    /// The answer, or why the VM gives none any more.
    async fn answer<T>(&self, result: ttrpc::Result<T>) -> Result<T> {
        self.understood(result.map_err(from_ttrpc)).await
    }

    /// How the VM ended, with its last words.
    async fn died(&self) -> Error {
        let mut vm = self.vm.lock().await;
        let how = match timeout(SETTLE, vm.ended()).await {
            Ok(how) => {
                vm.drained().await;
                how
            }
            Err(_) => "its agent hung up".to_owned(),
        };
        Error::new(ErrorKind::Unavailable, format!("the virtual machine died: {how}{}", vm.last_words()))
    }

    async fn stdio(&self, exec_id: &str, request: StdioRequest) -> Result<Stdio> {
        let channel = self.channel.abort_handle();
        let opened = timeout(ANSWER, open_stdio(&self.mux, &channel, &self.id, exec_id, request)).await;
        match opened {
            Err(_) => Err(Error::new(ErrorKind::DeadlineExceeded, "the virtual machine's agent does not answer")),
            Ok(Err(_)) if channel.is_finished() => Err(self.died().await),
            Ok(other) => other,
        }
    }

    /// `spec` is the guest's part of the bundle's `config.json`.
    pub async fn create(&self, req: &CreateRequest, spec: &[u8]) -> Result<(i32, Stdio)> {
        let bundle = read_bundle(&req.bundle, spec)?;
        let stdio = self.stdio("", req.stdio).await?;
        let mut message = task::CreateTaskRequest::new();
        message.id.clone_from(&self.id);
        message.terminal = req.stdio.terminal;
        message.stdin = stdin_wanted(req.stdio);
        message.rootfs = req
            .rootfs
            .iter()
            .map(|mount| TaskMount {
                type_: mount.kind.clone(),
                source: mount.source.clone(),
                target: mount.target.clone(),
                options: mount.options.clone(),
                ..TaskMount::default()
            })
            .collect();
        message.options = Some(any(BUNDLE_TYPE_URL, bundle)).into();
        let reply = self.answer(self.task.0.create(ctx(), &message).await).await?;
        Ok((pid(reply.pid), stdio))
    }

    pub async fn exec(&self, exec_id: &str, process: Vec<u8>, request: StdioRequest) -> Result<Stdio> {
        self.awake(self.exec_awake(exec_id, process, request)).await
    }

    async fn exec_awake(&self, exec_id: &str, process: Vec<u8>, request: StdioRequest) -> Result<Stdio> {
        let stdio = self.stdio(exec_id, request).await?;
        let mut message = task::ExecProcessRequest::new();
        message.id.clone_from(&self.id);
        exec_id.clone_into(&mut message.exec_id);
        message.terminal = request.terminal;
        message.stdin = stdin_wanted(request);
        message.spec = Some(any("types.containerd.io/opencontainers/runtime-spec/1/Process", process)).into();
        self.answer(self.task.0.exec(ctx(), &message).await).await?;
        Ok(stdio)
    }

    pub async fn start(&self, exec_id: Option<&str>) -> Result<i32> {
        let message = task::StartRequest { id: self.id.clone(), exec_id: name(exec_id), ..Default::default() };
        let reply = self.ask(self.task.0.start(ctx(), &message)).await?;
        Ok(pid(reply.pid))
    }

    pub async fn kill(&self, exec_id: Option<&str>, signal: u32, all: bool) -> Result<()> {
        let message =
            task::KillRequest { id: self.id.clone(), exec_id: name(exec_id), signal, all, ..Default::default() };
        if signal == SIGKILL && exec_id.is_none() {
            // The agent thaws whom it kills, and then tells of the end: the
            // pause is over.
            self.stay_awake().await?;
        }
        match self.ask(self.task.0.kill(ctx(), &message)).await {
            // What was in the machine is dead.
            Err(err) if err.kind == ErrorKind::Unavailable && signal == SIGKILL => Ok(()),
            other => other.map(drop),
        }
    }

    /// The container's end has been told to who waits for it.
    pub fn has_ended(&self) {
        self.ended.send_replace(true);
    }

    /// Kills the machine, unless its container's end is told within `patience`.
    /// What the guest says to this call would be its own word.
    pub async fn insist(self: Arc<Self>, patience: Duration) {
        let mut ended = self.ended.subscribe();
        if timeout(patience, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!("container {} does not die within {} s: its machine is killed", self.id, patience.as_secs());
            self.switch.kill();
        }
    }

    /// A VM that died ends every wait: its processes were killed with it.
    pub async fn wait(&self, exec_id: Option<&str>) -> Result<ExitDetails> {
        let process = ProcessRef { id: self.id.clone(), exec_id: name(exec_id) };
        match self.extra.0.exit_details(&process).await {
            Err(err) if err.kind == ErrorKind::Unavailable => Ok(ExitDetails {
                exit_code: KILLED,
                exited_at: Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
                oom_killed: false,
                error: Some(self.died().await.message),
            }),
            other => other.map(believed),
        }
    }

    pub async fn resize(&self, exec_id: Option<&str>, width: u16, height: u16) -> Result<()> {
        let message = task::ResizePtyRequest {
            id: self.id.clone(),
            exec_id: name(exec_id),
            width: width.into(),
            height: height.into(),
            ..Default::default()
        };
        self.ask(self.task.0.resize_pty(ctx(), &message)).await.map(drop)
    }

    pub async fn pids(&self) -> Result<Vec<i32>> {
        let message = task::PidsRequest { id: self.id.clone(), ..Default::default() };
        let reply = self.ask(self.task.0.pids(ctx(), &message)).await?;
        Ok(reply.processes.iter().map(|process| pid(process.pid)).collect())
    }

    pub(super) async fn freeze(&self) -> Result<()> {
        let message = task::PauseRequest { id: self.id.clone(), ..Default::default() };
        self.answer(self.task.0.pause(ctx(), &message).await).await.map(drop)
    }

    pub(super) async fn thaw(&self) -> Result<()> {
        let message = task::ResumeRequest { id: self.id.clone(), ..Default::default() };
        self.answer(self.task.0.resume(ctx(), &message).await).await.map(drop)
    }

    pub async fn processes(&self) -> Result<ProcessList> {
        let whole = self.whole();
        let ask = async { self.understood(self.extra.0.processes(&whole).await).await };
        self.awake(ask).await.map(figures::believed_processes)
    }

    /// The workload's figures as the agent has them, and the cost of the VM,
    /// which has been given `guest_memory` bytes, as this host has it.
    pub async fn stats(&self, guest_memory: u64) -> Result<Figures> {
        let whole = self.whole();
        let reply = self.awake(async { self.understood(self.extra.0.figures(&whole).await).await }).await?;
        let metrics =
            STANDARD.decode(&reply.metrics).map_err(|err| Error::internal(format!("figures of the guest: {err}")))?;
        let vm = figures::of_vm(&*self.vm.lock().await, guest_memory);
        Ok(Figures { type_url: reply.type_url, metrics, kernel: reply.kernel, vm })
    }

    fn whole(&self) -> ProcessRef {
        ProcessRef { id: self.id.clone(), exec_id: String::new() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn extra(&self) -> &ExtraClient {
        &self.extra.0
    }

    /// An answer of Extra, or why the VM gives none any more.
    pub(super) async fn understood<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(err) if err.kind == ErrorKind::Unavailable => Err(self.died().await),
            other => other,
        }
    }

    pub(super) async fn set_limits(&self, limits: &Resources) -> Result<()> {
        let limits = serde_json::to_vec(limits).map_err(|err| Error::internal(err.to_string()))?;
        let mut message = task::UpdateTaskRequest::new();
        message.id.clone_from(&self.id);
        message.resources =
            Some(any("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", limits)).into();
        self.answer(self.task.0.update(ctx(), &message).await).await.map(drop)
    }

    pub(super) async fn ask_to_grow(&self, lacks: GrowRequest) -> Result<GrowReply> {
        self.extra.0.grow(&lacks).await
    }

    /// Sets the guest's clock after a halt. A guest whose clock is late works all the same.
    pub(super) async fn tell_time(&self) {
        let told = match configure(&self.config) {
            Ok(request) => timeout(ANSWER, self.extra.0.configure(&request)).await,
            Err(err) => return tracing::warn!("{err}"),
        };
        if !matches!(told, Ok(Ok(_))) {
            tracing::warn!("the clock of the virtual machine could not be set");
        }
    }

    pub async fn delete_exec(&self, exec_id: Option<&str>) -> Result<()> {
        let message = task::DeleteRequest { id: self.id.clone(), exec_id: name(exec_id), ..Default::default() };
        self.ask(self.task.0.delete(ctx(), &message)).await.map(drop)
    }

    /// Mounts the root filesystem for its files alone.
    pub async fn mount(&self, req: &MountRequest) -> Result<()> {
        match self.extra.0.mount(req).await {
            Err(err) if err.kind == ErrorKind::Unavailable => Err(self.died().await),
            other => other,
        }
    }

    /// Serves one request on files: `client` and the agent talk to each other.
    /// An error comes before a byte has been sent to the client.
    pub async fn files(&self, request: FilesRequest, client: &mut UnixStream) -> Result<()> {
        self.awake(self.files_awake(request, client)).await
    }

    async fn files_awake(&self, request: FilesRequest, client: &mut UnixStream) -> Result<()> {
        let head = StreamHead::Files { id: self.id.clone(), request };
        let mut stream = match timeout(ANSWER, open_stream(&self.mux, &head)).await {
            Err(_) => {
                return Err(Error::new(ErrorKind::DeadlineExceeded, "the virtual machine's agent does not answer"));
            }
            Ok(Err(_)) if self.channel.is_finished() => return Err(self.died().await),
            Ok(opened) => opened?,
        };
        // Either side may go; the other sees its stream end.
        let _ = tokio::io::copy_bidirectional_with_sizes(client, &mut stream, CHUNK, CHUNK).await;
        Ok(())
    }

    /// Ends the VM: by its agent, else by QMP, else by force. With `now` the
    /// guest neither unmounts nor syncs.
    ///
    /// # Errors
    /// The guest was cut off before it had synced. It has ended all the same.
    pub async fn end(&self, now: bool) -> Result<()> {
        let mut synced = Ok(());
        // A machine that does not wake is ended by force below.
        let _ = self.stay_awake().await;
        let vm = self.vm.lock().await;
        if now && self.shares.is_none() {
            // What it has is thrown away: it need not even know.
            vm.kill().await;
        } else if !vm.has_ended() {
            let message = task::ShutdownRequest { id: self.id.clone(), now, ..Default::default() };
            let orderly = async {
                // The answer is the end of the machine.
                let _ = self.task.0.shutdown(ctx(), &message).await;
                vm.ended().await
            };
            let patience = if now { SHUTDOWN_NOW } else { SHUTDOWN };
            if timeout(patience, orderly).await.is_err() {
                if !now {
                    synced = Err(Error::internal(format!(
                        "the guest did not end within {} s, and what it had written last may be lost{}",
                        patience.as_secs(),
                        vm.last_words()
                    )));
                }
                vm.quit(QUIT).await;
            }
        }
        self.channel.abort();
        drop(vm);
        if let Some(shares) = &self.shares {
            shares.end().await;
        }
        self.group.remove().await;
        synced
    }
}

fn stdin_wanted(request: StdioRequest) -> String {
    if request.stdin { "1".to_owned() } else { String::new() }
}

/// The regular files directly in the bundle.
fn read_bundle(dir: &Path, spec: &[u8]) -> Result<Vec<u8>> {
    let mut bundle = Bundle::default();
    let mut total = 0;
    for entry in fs::read_dir(dir).map_err(|err| Error::internal(format!("read {}: {err}", dir.display())))? {
        let entry = entry?;
        let meta = fs::symlink_metadata(entry.path())?;
        let (true, Some(name)) = (meta.is_file(), entry.file_name().to_str().map(str::to_owned)) else { continue };
        total += meta.len();
        if total > MAX_BUNDLE {
            return Err(Error::invalid(format!("the bundle {} is larger than 16 MiB", dir.display())));
        }
        let content =
            if name == "config.json" { STANDARD.encode(spec) } else { STANDARD.encode(fs::read(entry.path())?) };
        let (uid, gid) = (meta.uid(), meta.gid());
        bundle.files.push(BundleFile { name, mode: meta.permissions().mode() & 0o777, uid, gid, content });
    }
    serde_json::to_vec(&bundle).map_err(|err| Error::internal(format!("encode the bundle: {err}")))
}

#[cfg(test)]
mod tests {
    use super::{ExitDetails, believed};

    #[test]
    fn a_guest_that_lies_is_not_believed() {
        let lie = ExitDetails {
            exit_code: 70_000,
            exited_at: "never".to_owned(),
            oom_killed: false,
            error: Some("\x1b[2Jgone".to_owned()),
        };
        let said = believed(lie);
        assert_eq!((said.exit_code, said.error.as_deref()), (255, Some("[2Jgone")));
        assert!(chrono::DateTime::parse_from_rfc3339(&said.exited_at).is_ok());
    }
}
