//! Task and Extra in the guest: each container is one [`ProcessSandbox`].

use crate::{
    clock, grow, init,
    mounts::{self, Mounted, Mounting},
    network::Networks,
    streams::Streams,
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hako_model::{Error, ExitDetails, ProcessList, Result};
use hako_sandbox::{
    CreateRequest, GUEST_CGROUP, Mount, Sandbox, StdioRequest,
    process::{ProcessConfig, ProcessSandbox, Reaper, Standby},
};
use hako_task::{
    error::to_ttrpc,
    extra::{
        BUNDLE_TYPE_URL, Bundle, BundleFile, ConfigureReply, ConfigureRequest, Extra, FiguresReply, GrowReply,
        GrowRequest, MountRequest, NetworkRequest, ProcessRef,
    },
    files::{FilesRequest, refuse},
    mux::MuxStream,
    protos::{
        protobuf::{
            MessageField,
            well_known_types::{any::Any, timestamp::Timestamp},
        },
        types::task::ProcessInfo,
    },
    task::{self, CreateTaskRequest, CreateTaskResponse},
    task_service::Task,
    ttrpc::{self, r#async::TtrpcContext},
};
use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::{net::UnixStream, task::spawn_blocking};

/// Bundles, one folder per container.
const BUNDLES: &str = "/run/hako";
const RUNTIME_ROOT: &str = "/run/hako-runtime";
/// Pid files and console sockets, beside the bundle.
const WORK: &str = "work";
/// How much of a container's files is moved at once.
const CHUNK: usize = 64 << 10;
/// Calls of the runtime that wait for a container: one makes it, one is its first exec.
const FIRST_CALLS: usize = 2;
/// Threads that wait for work that blocks: a container has two disks.
const THREADS: usize = 2;
/// In which one that has begun has not ended when the next begins.
const AT_ONCE: Duration = Duration::from_millis(10);
/// In which a machine whose container is deleted ends.
const BREATH: Duration = Duration::from_millis(100);

type Reply<T> = ttrpc::Result<T>;

struct Container {
    sandbox: ProcessSandbox,
    /// Its mounts, while they are being made.
    mounting: tokio::sync::Mutex<Option<Mounting>>,
    mounted: Mutex<Mounted>,
    dir: PathBuf,
}

/// The agent's service.
pub struct Service {
    streams: Arc<Streams>,
    reaper: Reaper,
    standby: Standby,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    networks: Networks,
}

impl Service {
    /// A service with no container.
    pub fn new(streams: Arc<Streams>, reaper: Reaper) -> Self {
        let standby = Standby::new(init::RUNTIME.into(), reaper.clone());
        Self { streams, reaper, standby, containers: Mutex::default(), networks: Networks::default() }
    }

    /// Does what can be done before there is a container: has the runtime wait for
    /// work, makes folders and the container's cgroup, looks at the disks.
    pub async fn stand_by(&self) {
        let made = [BUNDLES, RUNTIME_ROOT].into_iter().try_for_each(fs::create_dir_all);
        if let Err(err) = made.and_then(|()| mounts::learn_disks()) {
            // It is done when it is wanted.
            tracing::warn!("{err}");
        }
        // The threads that will mount the disks.
        let threads: Vec<_> = (0..THREADS).map(|_| spawn_blocking(|| thread::sleep(AT_ONCE))).collect();
        for thread in threads {
            let _ = thread.await;
        }
        stand_by(&self.standby, FIRST_CALLS).await;
    }

    /// The guest's interfaces.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Is ready for another container in a while. A machine whose container is
    /// deleted ends mostly, and not later for this; after a rehearsal it does not.
    fn stand_by_later(&self) {
        let standby = self.standby.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BREATH).await;
            stand_by(&standby, FIRST_CALLS).await;
        });
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.map().get(id).cloned().ok_or_else(|| Error::not_found(format!("no container {id:?} in this guest")))
    }

    async fn create_container(&self, req: CreateTaskRequest) -> Result<i32> {
        check_name(&req.id)?;
        let stdio = StdioRequest { terminal: req.terminal, stdin: !req.stdin.is_empty() };
        let taken = self.streams.take(&req.id, "", stdio)?;
        if self.map().contains_key(&req.id) {
            return Err(Error::conflict(format!("container {:?} exists already in this guest", req.id)));
        }
        let dir = Path::new(BUNDLES).join(&req.id);
        let rootfs: Vec<Mount> = req.rootfs.iter().map(mount).collect();
        // Disks take their time: meanwhile the bundle is written, and the runtime reads it.
        let container = self.prepare(&rootfs, &dir)?;
        let create = CreateRequest { id: req.id.clone(), bundle: dir.clone(), rootfs, stdio };
        let made = match req.options.as_ref().map_or(Ok(()), |options| write_bundle(options, &dir)) {
            Ok(()) => container.sandbox.create_when(create, container.has_mounted()).await,
            Err(err) => Err(err),
        };
        match made {
            Ok((pid, stdio)) => {
                taken.join(stdio);
                self.map().insert(req.id, container);
                Ok(pid)
            }
            Err(err) => {
                // It has failed of itself, or of something else, or is not ready yet.
                let _ = container.has_mounted().await;
                if let Err(cleanup) = container.clean() {
                    tracing::warn!("clean up after a failed create: {cleanup}");
                }
                Err(err)
            }
        }
    }

    /// Mounts a container's root filesystem, with no container in it.
    async fn mount_rootfs(&self, mut req: MountRequest) -> Result<()> {
        check_name(&req.id)?;
        if self.map().contains_key(&req.id) {
            return Err(Error::conflict(format!("container {:?} exists already in this guest", req.id)));
        }
        let dir = Path::new(BUNDLES).join(&req.id);
        let rootfs: Vec<Mount> = req
            .rootfs
            .iter()
            .map(|mount| Mount {
                kind: mount.kind.clone(),
                source: mount.source.clone(),
                target: mount.target.clone(),
                options: mount.options.clone(),
            })
            .collect();
        let container = self.prepare(&rootfs, &dir)?;
        req.bundle = dir.display().to_string();
        let id = req.id.clone();
        let mounted = match container.has_mounted().await {
            Ok(()) => container.sandbox.mount(req).await,
            Err(err) => Err(err),
        };
        match mounted {
            Ok(()) => {
                self.map().insert(id, container);
                Ok(())
            }
            Err(err) => {
                if let Err(cleanup) = container.clean() {
                    tracing::warn!("clean up after a failed mount: {cleanup}");
                }
                Err(err)
            }
        }
    }

    /// Serves one request on a container's files over `stream`.
    pub async fn files(&self, id: &str, request: FilesRequest, mut stream: MuxStream) {
        let served = self.container(id).and_then(|container| Ok((container, UnixStream::pair()?)));
        let (container, (mut ours, theirs)) = match served {
            Ok(served) => served,
            Err(err) => {
                // A host that has gone needs no answer.
                let _ = refuse(&mut stream, err).await;
                return;
            }
        };
        let move_on = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut ours, CHUNK, CHUNK);
        let (_, moved) = tokio::join!(container.sandbox.files(request, theirs), move_on);
        if let Err(err) = moved {
            tracing::debug!("files of {id:?}: {err}");
        }
    }

    /// An empty sandbox in folders of its own, whose root filesystem is being
    /// mounted. On an error nothing of it stays.
    fn prepare(&self, rootfs: &[Mount], dir: &Path) -> Result<Arc<Container>> {
        let made = [dir.join("rootfs"), dir.join(WORK), RUNTIME_ROOT.into()].iter().try_for_each(fs::create_dir_all);
        made.inspect_err(|_| {
            // The folder may not even be there.
            let _ = fs::remove_dir_all(dir);
        })?;
        let mounting = Some(Mounting::begin(rootfs, dir)).into();
        let config = ProcessConfig {
            runtime: init::RUNTIME.into(),
            runtime_root: RUNTIME_ROOT.into(),
            dir: dir.join(WORK),
            rootfs_mounted: true,
            standby: Some(self.standby.clone()),
        };
        let sandbox = ProcessSandbox::new(config, self.reaper.clone());
        Ok(Arc::new(Container { sandbox, mounting, mounted: Mutex::default(), dir: dir.to_owned() }))
    }

    async fn delete_process(&self, id: &str, exec_id: &str) -> Result<()> {
        let container = self.container(id)?;
        if !exec_id.is_empty() {
            return container.sandbox.delete(Some(exec_id)).await;
        }
        let deleted = container.sandbox.delete(None).await;
        self.map().remove(id);
        let cleaned = deleted.and(container.clean());
        self.stand_by_later();
        cleaned
    }

    async fn shut_down(&self, now: bool) {
        if !now {
            let ids: Vec<String> = self.map().keys().cloned().collect();
            for id in ids {
                if let Err(err) = self.delete_process(&id, "").await {
                    tracing::warn!("delete {id:?}: {err}");
                }
            }
            nix::unistd::sync();
        }
        init::power_off();
    }
}

/// What fails is done when it is wanted.
async fn stand_by(standby: &Standby, calls: usize) {
    if let Err(err) = hako_os::cgroup::make(GUEST_CGROUP) {
        tracing::warn!("{err}");
    }
    fill(standby, calls).await;
}

async fn fill(standby: &Standby, calls: usize) {
    if let Err(err) = standby.fill(calls).await {
        // Then the runtime is executed when there is work.
        tracing::warn!("{err}");
    }
}

impl Container {
    /// Waits until all is mounted; an error is said once.
    async fn has_mounted(&self) -> Result<()> {
        let Some(mounting) = self.mounting.lock().await.take() else { return Ok(()) };
        let mounted = mounting.end().await?;
        *self.mounted.lock().unwrap_or_else(PoisonError::into_inner) = mounted;
        Ok(())
    }

    fn clean(&self) -> Result<()> {
        let unmounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner).undo();
        // What is on a disk is not to be removed with the place where it was mounted.
        let below = format!(" {}/", self.dir.display());
        let removed = match fs::read_to_string("/proc/self/mountinfo") {
            Ok(mounts) if mounts.contains(&below) => Err(Error::internal(format!("mounted:{below}"))),
            Ok(_) => fs::remove_dir_all(&self.dir).map_err(Error::from),
            Err(err) => Err(err.into()),
        };
        unmounted.and(removed)
    }
}

fn mount(mount: &hako_task::protos::api::Mount) -> Mount {
    Mount {
        kind: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

/// Names become folders and files, so they must be nothing but names.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Error::invalid(format!("{name:?} is not a plain name")));
    }
    Ok(())
}

fn write_bundle(options: &Any, dir: &Path) -> Result<()> {
    if options.type_url != BUNDLE_TYPE_URL {
        return Ok(());
    }
    let bundle: Bundle =
        serde_json::from_slice(&options.value).map_err(|err| Error::invalid(format!("malformed bundle: {err}")))?;
    bundle.files.iter().try_for_each(|file| write_file(file, dir))
}

fn write_file(file: &BundleFile, dir: &Path) -> Result<()> {
    check_name(&file.name)?;
    let content =
        STANDARD.decode(&file.content).map_err(|err| Error::invalid(format!("file {:?}: {err}", file.name)))?;
    let failed = |err: std::io::Error| Error::internal(format!("write {:?} of the bundle: {err}", file.name));
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode & 0o777)
        .open(dir.join(&file.name))
        .map_err(failed)?;
    to.write_all(&content).map_err(failed)?;
    if (file.uid, file.gid) != (0, 0) {
        std::os::unix::fs::fchown(&to, Some(file.uid), Some(file.gid)).map_err(failed)?;
    }
    Ok(())
}

fn exec(exec_id: &str) -> Option<&str> {
    if exec_id.is_empty() { None } else { Some(exec_id) }
}

fn unsigned(pid: i32) -> u32 {
    u32::try_from(pid).unwrap_or(0)
}

fn answer<T>(result: Result<T>) -> Reply<T> {
    result.map_err(|err| to_ttrpc(&err))
}

fn done(result: Result<()>) -> Reply<hako_task::protos::api::Empty> {
    answer(result.map(|()| hako_task::protos::api::Empty::new()))
}

fn timestamp(rfc3339: &str) -> MessageField<Timestamp> {
    let mut stamp = Timestamp::new();
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(rfc3339) {
        stamp.seconds = time.timestamp();
        stamp.nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    }
    MessageField::some(stamp)
}

#[async_trait]
impl Task for Service {
    async fn create(&self, _ctx: &TtrpcContext, req: CreateTaskRequest) -> Reply<CreateTaskResponse> {
        let pid = answer(self.create_container(req).await)?;
        Ok(CreateTaskResponse { pid: unsigned(pid), ..Default::default() })
    }

    async fn exec(&self, _ctx: &TtrpcContext, req: task::ExecProcessRequest) -> Reply<hako_task::protos::api::Empty> {
        let run = async {
            check_name(&req.exec_id)?;
            let container = self.container(&req.id)?;
            let request = StdioRequest { terminal: req.terminal, stdin: !req.stdin.is_empty() };
            let taken = self.streams.take(&req.id, &req.exec_id, request)?;
            let process = req.spec.as_ref().map(|any| any.value.clone()).unwrap_or_default();
            let stdio = container.sandbox.exec(&req.exec_id, process, request).await?;
            taken.join(stdio);
            Ok(())
        };
        done(run.await)
    }

    async fn start(&self, _ctx: &TtrpcContext, req: task::StartRequest) -> Reply<task::StartResponse> {
        let container = answer(self.container(&req.id))?;
        let pid = answer(container.sandbox.start(exec(&req.exec_id)).await)?;
        if !req.exec_id.is_empty() {
            // Who has one process more will have others.
            let standby = self.standby.clone();
            tokio::spawn(async move { fill(&standby, 1).await });
        }
        Ok(task::StartResponse { pid: unsigned(pid), ..Default::default() })
    }

    async fn kill(&self, _ctx: &TtrpcContext, req: task::KillRequest) -> Reply<hako_task::protos::api::Empty> {
        let container = answer(self.container(&req.id))?;
        done(container.sandbox.kill(exec(&req.exec_id), req.signal, req.all).await)
    }

    async fn wait(&self, _ctx: &TtrpcContext, req: task::WaitRequest) -> Reply<task::WaitResponse> {
        let container = answer(self.container(&req.id))?;
        let details = answer(container.sandbox.wait(exec(&req.exec_id)).await)?;
        let exited_at = timestamp(&details.exited_at);
        Ok(task::WaitResponse { exit_status: unsigned(details.exit_code), exited_at, ..Default::default() })
    }

    async fn resize_pty(
        &self,
        _ctx: &TtrpcContext,
        req: task::ResizePtyRequest,
    ) -> Reply<hako_task::protos::api::Empty> {
        let container = answer(self.container(&req.id))?;
        let cells = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        done(container.sandbox.resize(exec(&req.exec_id), cells(req.width), cells(req.height)).await)
    }

    async fn pids(&self, _ctx: &TtrpcContext, req: task::PidsRequest) -> Reply<task::PidsResponse> {
        let container = answer(self.container(&req.id))?;
        let pids = answer(container.sandbox.pids().await)?;
        let processes = pids.into_iter().map(|pid| ProcessInfo { pid: unsigned(pid), ..Default::default() }).collect();
        Ok(task::PidsResponse { processes, ..Default::default() })
    }

    async fn pause(&self, _ctx: &TtrpcContext, req: task::PauseRequest) -> Reply<hako_task::protos::api::Empty> {
        let container = answer(self.container(&req.id))?;
        done(container.sandbox.pause().await)
    }

    async fn resume(&self, _ctx: &TtrpcContext, req: task::ResumeRequest) -> Reply<hako_task::protos::api::Empty> {
        let container = answer(self.container(&req.id))?;
        done(container.sandbox.resume().await)
    }

    async fn stats(&self, _ctx: &TtrpcContext, req: task::StatsRequest) -> Reply<task::StatsResponse> {
        let container = answer(self.container(&req.id))?;
        let figures = answer(container.sandbox.stats().await)?;
        let mut reply = task::StatsResponse::new();
        let stats = reply.mut_stats();
        (stats.type_url, stats.value) = (figures.type_url, figures.metrics);
        Ok(reply)
    }

    async fn update(&self, _ctx: &TtrpcContext, req: task::UpdateTaskRequest) -> Reply<hako_task::protos::api::Empty> {
        let container = answer(self.container(&req.id))?;
        let resources = req.resources.as_ref().map(|any| any.value.clone()).unwrap_or_default();
        done(container.sandbox.update(resources).await)
    }

    async fn delete(&self, _ctx: &TtrpcContext, req: task::DeleteRequest) -> Reply<task::DeleteResponse> {
        answer(self.delete_process(&req.id, &req.exec_id).await)?;
        Ok(task::DeleteResponse::new())
    }

    /// Ends the machine, so there is no reply. With `now` nothing is unmounted or synced.
    async fn shutdown(&self, _ctx: &TtrpcContext, req: task::ShutdownRequest) -> Reply<hako_task::protos::api::Empty> {
        self.shut_down(req.now).await;
        done(Ok(()))
    }
}

#[async_trait]
impl Extra for Service {
    async fn configure(&self, req: ConfigureRequest) -> Result<ConfigureReply> {
        let entropy =
            STANDARD.decode(&req.entropy).map_err(|err| Error::invalid(format!("malformed entropy: {err}")))?;
        clock::set(req.unix_time_ns)?;
        clock::seed(&entropy)?;
        clock::set_hostname(&req.hostname)?;
        let name = nix::sys::utsname::uname().map_err(|err| Error::internal(format!("uname: {err}")))?;
        Ok(ConfigureReply {
            kernel_release: name.release().to_string_lossy().into_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn grow(&self, req: GrowRequest) -> Result<GrowReply> {
        grow::grow(req)
    }

    async fn exit_details(&self, req: ProcessRef) -> Result<ExitDetails> {
        self.container(&req.id)?.sandbox.wait(exec(&req.exec_id)).await
    }

    async fn mount(&self, req: MountRequest) -> Result<()> {
        self.mount_rootfs(req).await
    }

    async fn figures(&self, req: ProcessRef) -> Result<FiguresReply> {
        let figures = self.container(&req.id)?.sandbox.stats().await?;
        let metrics = STANDARD.encode(&figures.metrics);
        Ok(FiguresReply { type_url: figures.type_url, metrics, kernel: figures.kernel, vm: None })
    }

    /// Before the container is created, and while it runs: there is one.
    async fn network(&self, req: NetworkRequest) -> Result<()> {
        check_name(&req.id)?;
        self.networks.change(req.change, req.by_stream, &Path::new(BUNDLES).join(&req.id)).await
    }

    async fn processes(&self, req: ProcessRef) -> Result<ProcessList> {
        self.container(&req.id)?.sandbox.processes().await
    }
}
