//! Starts a shim as hakod does, on a bundle of busybox.

use crate::bundle::{Mode, Options, busybox, process, spec};
use hako_model::{BootConfig, ContainerId, Disk, Isolation, LogConfig, LogDriver, SandboxConfig, ShimState, VmConfig};
use hako_task::{
    extra::ExtraClient,
    protos::{protobuf::MessageField, types::mount::Mount},
    stdio::{AttachReply, AttachRequest, read_line, write_line},
    task as api,
    task_service::TaskClient,
    ttrpc::{
        r#async::Client,
        context::{Context, with_timeout},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

pub(crate) fn ctx() -> Context {
    with_timeout(60_000_000_000)
}

/// The runtime under test: `HAKO_RUNTIME`, or the one beside the shim.
pub(crate) fn runtime() -> PathBuf {
    match std::env::var_os("HAKO_RUNTIME") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_BIN_EXE_hako-shim")).with_file_name("hako-runtime"),
    }
}

/// A VM whose disks are made of the container's layer.
fn vm(path: &Path) -> VmConfig {
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("mkfs.erofs").arg("--quiet").arg(path.join("rootfs.erofs")).arg(path.join("layers/0")));
    fs::File::create(path.join("scratch.img")).unwrap().set_len(1 << 30).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(path.join("scratch.img")));
    let guest = Path::new(env!("CARGO_BIN_EXE_hako-shim")).with_file_name("guest");
    let disk = |serial: &str, name: &str, read_only| Disk {
        serial: serial.to_owned(),
        path: path.join(name),
        size: None,
        read_only,
    };
    VmConfig {
        boot: BootConfig {
            qemu: "qemu-system-x86_64".into(),
            board: "microvm".to_owned(),
            kernel: guest.join("vmlinux"),
            initramfs: guest.join("initramfs.cpio"),
            accelerator: "tcg".to_owned(),
            kernel_args: hako_qemu::Board::Microvm.host_args(hako_qemu::Accelerator::Tcg, None),
            deadline_ms: 60_000,
            attempts: 2,
        },
        memory_mib: 256,
        cpus: 1,
        most_cpus: 1,
        disks: vec![disk("rootfs", "rootfs.erofs", true), disk("scratch", "scratch.img", false)],
        shares: None,
        network: None,
        template: None,
    }
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::new();
    mount.type_ = kind.to_owned();
    mount.source = source.to_owned();
    mount.target = target.to_owned();
    mount.options = options.iter().map(|&option| option.to_owned()).collect();
    mount
}

/// The process wall's root filesystem.
fn overlay(path: &Path, mode: Mode) -> Mount {
    let count = if mode == Mode::ManyLayers { 120 } else { 1 };
    let mut lowers = Vec::new();
    for number in (1..count).rev() {
        // Longer together than the kernel's one page of options.
        let layer = path.join(format!("layers/{number}-{}", "n".repeat(10)));
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join(format!("layer-{number}")), "").unwrap();
        lowers.push(layer);
    }
    lowers.push(path.join("layers/0"));
    let lowers: Vec<_> = lowers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let at = |name: &str| path.join(name).display().to_string();
    let lower = format!("lowerdir={}", lowers.join(":"));
    let (upper, work) = (format!("upperdir={}", at("upper")), format!("workdir={}", at("work")));
    mount("overlay", "overlay", "", &[&lower, &upper, &work])
}

pub(crate) struct Shim {
    pub(crate) id: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) task: TaskClient,
    pub(crate) extra: ExtraClient,
    pub(crate) child: Child,
    cgroups: BTreeSet<PathBuf>,
}

impl Shim {
    /// A shim on a fresh folder, not yet asked to create.
    pub(crate) async fn start(options: &Options) -> Self {
        let dir = tempfile::Builder::new().prefix("shim-test").tempdir().unwrap();
        let id = ContainerId::random();
        let path = dir.path();
        fs::create_dir_all(path.join("bundle/rootfs")).unwrap();
        fs::write(path.join("bundle/config.json"), spec(id.as_str(), options).to_string()).unwrap();
        busybox(&path.join("layers/0"));
        let vm = (crate::WALL == Isolation::Hyperv).then(|| vm(path));
        let config = SandboxConfig {
            id: id.clone(),
            isolation: crate::WALL,
            log: LogConfig::plain(LogDriver::JsonFile, Some(path.join("log.json"))),
            open_stdin: options.open_stdin,
            stdin_once: options.stdin_once,
            runtime: runtime(),
            runtime_root: path.join("runtime"),
            vm,
            ephemeral: true,
        };
        fs::write(path.join("sandbox.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        let cgroups = cgroups();
        let child = spawn(path);
        let connection = Client::connect(&format!("unix://{}", path.join("task.sock").display())).await.unwrap();
        Self {
            id: id.to_string(),
            task: TaskClient::new(connection.clone()),
            extra: ExtraClient::new(connection),
            dir,
            child,
            cgroups,
        }
    }

    /// Starts a shim and creates the container.
    pub(crate) async fn create(options: Options) -> Self {
        let shim = Self::start(&options).await;
        shim.try_create(&options).await.unwrap();
        shim
    }

    pub(crate) async fn try_create(&self, options: &Options) -> Result<u32, String> {
        let path = self.dir.path();
        let at = |name: &str| path.join(name).display().to_string();
        let rootfs = match crate::WALL {
            Isolation::Process => vec![overlay(path, options.mode)],
            Isolation::Hyperv => vec![
                mount("erofs", "serial:rootfs", "lower", &["ro"]),
                mount("ext4", "serial:scratch", "scratch", &[]),
                mount(
                    "overlay",
                    "erofs+ext4",
                    "",
                    &["lowerdir=lower", "upperdir=scratch/upper", "workdir=scratch/work"],
                ),
            ],
        };
        let mut req = api::CreateTaskRequest::new();
        req.id.clone_from(&self.id);
        req.bundle = at("bundle");
        req.terminal = options.terminal;
        req.rootfs = rootfs;
        self.task.create(ctx(), &req).await.map(|reply| reply.pid).map_err(|err| text(&err))
    }

    pub(crate) async fn run(&self, exec_id: &str) -> Result<u32, String> {
        let mut req = api::StartRequest::new();
        req.id.clone_from(&self.id);
        req.exec_id = exec_id.to_owned();
        self.task.start(ctx(), &req).await.map(|reply| reply.pid).map_err(|err| text(&err))
    }

    pub(crate) async fn wait(&self, exec_id: &str) -> u32 {
        let mut req = api::WaitRequest::new();
        req.id.clone_from(&self.id);
        req.exec_id = exec_id.to_owned();
        self.task.wait(ctx(), &req).await.unwrap().exit_status
    }

    pub(crate) async fn kill(&self, exec_id: &str, signal: u32, all: bool) -> Result<(), String> {
        let mut req = api::KillRequest::new();
        req.id.clone_from(&self.id);
        req.exec_id = exec_id.to_owned();
        req.signal = signal;
        req.all = all;
        self.task.kill(ctx(), &req).await.map(drop).map_err(|err| text(&err))
    }

    pub(crate) async fn exec(&self, exec_id: &str, args: &[&str], terminal: bool, stdin: bool) -> Result<(), String> {
        let mut req = api::ExecProcessRequest::new();
        req.id.clone_from(&self.id);
        req.exec_id = exec_id.to_owned();
        req.terminal = terminal;
        req.stdin = if stdin { "1".to_owned() } else { String::new() };
        let mut spec = hako_task::protos::protobuf::well_known_types::any::Any::new();
        spec.value = process(args, terminal).to_string().into_bytes();
        req.spec = MessageField::some(spec);
        self.task.exec(ctx(), &req).await.map(drop).map_err(|err| text(&err))
    }

    pub(crate) async fn delete(&self, exec_id: &str) -> Result<u32, String> {
        let mut req = api::DeleteRequest::new();
        req.id.clone_from(&self.id);
        req.exec_id = exec_id.to_owned();
        self.task.delete(ctx(), &req).await.map(|reply| reply.exit_status).map_err(|err| text(&err))
    }

    pub(crate) async fn state(&self) -> api::StateResponse {
        let mut req = api::StateRequest::new();
        req.id.clone_from(&self.id);
        self.task.state(ctx(), &req).await.unwrap()
    }

    pub(crate) async fn attach(&self, exec_id: &str, stdin: bool) -> UnixStream {
        let mut stream = UnixStream::connect(self.dir.path().join("stdio.sock")).await.unwrap();
        let req = AttachRequest { exec_id: exec_id.to_owned(), stdin, stdout: true, stderr: true };
        write_line(&mut stream, &req).await.unwrap();
        let reply: AttachReply = read_line(&mut stream).await.unwrap();
        assert_eq!(reply.error, None);
        stream
    }

    /// The log's entries: (stream, text).
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir.path().join("log.json")).unwrap();
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            (entry["stream"].as_str().unwrap().to_owned(), entry["log"].as_str().unwrap().to_owned())
        };
        text.lines().map(entry).collect()
    }

    pub(crate) fn saved(&self) -> ShimState {
        serde_json::from_slice(&fs::read(self.dir.path().join("state.json")).unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn shutdown(&self, now: bool) -> Result<(), String> {
        let mut req = api::ShutdownRequest::new();
        req.id.clone_from(&self.id);
        req.now = now;
        self.task.shutdown(ctx(), &req).await.map(drop).map_err(|err| text(&err))
    }

    /// Ends a container that has ended by itself, and checks that nothing is left.
    pub(crate) async fn finish(self) {
        self.delete("").await.unwrap();
        self.shutdown(false).await.unwrap();
        self.check_clean();
    }

    /// Waits for the shim's own end, after Shutdown.
    pub(crate) fn gone(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// After Shutdown.
    pub(crate) fn check_clean(mut self) {
        self.gone();
        let log = fs::read_to_string(self.dir.path().join("shim.log")).unwrap();
        assert_eq!(log, "", "the shim had to warn");
        let left: Vec<_> = cgroups()
            .difference(&self.cgroups)
            .filter(|dir| dir.to_string_lossy().contains(&self.id))
            .cloned()
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
        assert!(!self.dir.path().join("runtime").join(&self.id).exists());
        let names: BTreeSet<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let known = [
            "bundle",
            "console.log",
            "rootfs.erofs",
            "scratch.img",
            "layers",
            "log.json",
            "runtime",
            "sandbox.json",
            "shim.log",
            "state.json",
            "stdio.sock",
            "task.sock",
            "upper",
            "work",
        ];
        let strange: Vec<_> = names.iter().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "left: {strange:?}");
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()));
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // A test that failed half-way leaves no container behind.
        if self.child.try_wait().unwrap().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = Command::new(runtime())
                .arg("--root")
                .arg(self.dir.path().join("runtime"))
                .args(["delete", "--force", &self.id])
                .status();
            let log = fs::read_to_string(self.dir.path().join("shim.log")).unwrap_or_default();
            eprintln!("shim.log of {}: {log}", self.id);
        }
    }
}

fn spawn(dir: &Path) -> Child {
    let task = UnixListener::bind(dir.join("task.sock")).unwrap();
    let stdio = UnixListener::bind(dir.join("stdio.sock")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hako-shim"));
    command.arg("--dir").arg(dir).stderr(fs::File::create(dir.join("shim.log")).unwrap());
    command.stdin(OwnedFd::from(task)).stdout(OwnedFd::from(stdio));
    command.spawn().unwrap()
}

fn text(err: &hako_task::ttrpc::Error) -> String {
    match err {
        hako_task::ttrpc::Error::RpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        for group in fs::read_dir(hierarchy.unwrap().path()).into_iter().flatten() {
            found.insert(group.unwrap().path());
        }
    }
    found
}

/// Reads Docker's multiplexed stream to its end: (stdout, stderr).
pub(crate) async fn demux(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let mut head = [0; 8];
        match stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(end) if end.kind() == std::io::ErrorKind::UnexpectedEof => return (out, err),
            Err(end) => panic!("{end}"),
        }
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let into = if head[0] == 2 { &mut err } else { &mut out };
        let at = into.len();
        into.resize(at + len, 0);
        stream.read_exact(&mut into[at..]).await.unwrap();
    }
}

/// Writes all of `data` and closes this half.
pub(crate) async fn feed(mut half: tokio::net::unix::OwnedWriteHalf, data: Vec<u8>) {
    half.write_all(&data).await.unwrap();
    half.shutdown().await.unwrap();
}
