//! A busybox image as disks, a bundle, and a sandbox over both.

use hako_model::{BootConfig, Disk, Isolation, LogConfig, LogDriver, SandboxConfig, VmConfig};
use hako_qemu::{Accelerator, Board};
use hako_sandbox::{
    CreateRequest, Mount, Sandbox, Stdio, StdioRequest,
    microvm::{
        MicroVm,
        sizing::{Host, sizing},
    },
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

pub const PIPES: StdioRequest = StdioRequest { terminal: false, stdin: false };
pub const WITH_STDIN: StdioRequest = StdioRequest { terminal: false, stdin: true };
pub const TTY: StdioRequest = StdioRequest { terminal: true, stdin: true };

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const APPLETS: &[&str] = &[
    "sh",
    "cat",
    "echo",
    "sleep",
    "true",
    "uname",
    "stty",
    "mount",
    "dd",
    "tail",
    "head",
    "ip",
    "id",
    "date",
    "sha256sum",
    "wc",
    "free",
    "ls",
    "touch",
    "nc",
];

/// One container's folder.
pub struct Fixture {
    pub dir: TempDir,
    pub config: SandboxConfig,
    pub memory: Option<u64>,
}

/// The folder of the built programs: a test lies in its `deps`.
pub fn programs() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn busybox_tree(root: &Path) {
    for dir in ["bin", "proc", "sys", "dev", "tmp", "etc", "root"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
}

impl Fixture {
    pub fn new(memory: Option<u64>) -> Self {
        let dir = tempfile::Builder::new().prefix("hako-microvm-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        busybox_tree(&at("tree"));
        run(Command::new("mkfs.erofs").arg("--quiet").arg(at("rootfs.erofs")).arg(at("tree")));
        fs::File::create(at("scratch.img")).unwrap().set_len(4 << 30).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
            .arg(at("scratch.img")));
        let guest = programs().join("guest");
        assert!(guest.join("vmlinux").exists(), "run `cargo xtask guest` first");
        let host = Host { memory: 8 << 30, cpus: 2, accelerator: Accelerator::Tcg };
        let size = sizing(host, memory, Some(1_000_000_000));
        let disk = |serial: &str, name: &str, read_only| Disk {
            serial: serial.to_owned(),
            path: at(name),
            size: None,
            read_only,
        };
        let vm = VmConfig {
            boot: BootConfig {
                qemu: "qemu-system-x86_64".into(),
                board: "microvm".to_owned(),
                kernel: guest.join("vmlinux"),
                initramfs: guest.join("initramfs.cpio"),
                accelerator: "tcg".to_owned(),
                kernel_args: Board::Microvm.host_args(Accelerator::Tcg, None),
                deadline_ms: 30_000,
                attempts: 2,
            },
            memory_mib: if memory.is_some() { size.memory_mib } else { 256 },
            cpus: size.cpus,
            most_cpus: 2,
            disks: vec![disk("rootfs", "rootfs.erofs", true), disk("scratch", "scratch.img", false)],
            shares: None,
            network: None,
            template: None,
        };
        let config = SandboxConfig {
            id: ID.to_owned().try_into().unwrap(),
            isolation: Isolation::Hyperv,
            log: LogConfig::plain(LogDriver::None, None),
            open_stdin: false,
            stdin_once: false,
            runtime: PathBuf::new(),
            runtime_root: PathBuf::new(),
            vm: Some(vm),
            ephemeral: true,
        };
        Self { dir, config, memory }
    }

    pub fn vm(&mut self) -> &mut VmConfig {
        self.config.vm.as_mut().unwrap()
    }

    pub fn sandbox(&self) -> MicroVm {
        MicroVm::new(self.config.clone(), self.dir.path().to_owned())
    }

    /// A request to run `args`.
    pub fn request(&self, args: &[&str], stdio: StdioRequest) -> CreateRequest {
        let bundle = self.dir.path().join("bundle");
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        let spec = spec(args, stdio.terminal, self.memory);
        fs::write(bundle.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
        CreateRequest { id: ID.to_owned(), bundle, rootfs: rootfs(), stdio }
    }

    /// Creates and starts `args`.
    pub async fn start(&self, args: &[&str], stdio: StdioRequest) -> (MicroVm, Stdio) {
        let sandbox = self.sandbox();
        let (_, streams) = sandbox.create(self.request(args, stdio)).await.unwrap();
        sandbox.start(None).await.unwrap();
        (sandbox, streams)
    }

    /// Runs `args` to the end: stdout, stderr, exit code.
    pub async fn run(&self, args: &[&str]) -> (String, String, i32) {
        let (sandbox, streams) = self.start(args, PIPES).await;
        let (out, err) = texts(streams).await;
        let exit = sandbox.wait(None).await.unwrap();
        sandbox.delete(None).await.unwrap();
        (out, err, exit.exit_code)
    }
}

/// Both outputs to their ends.
pub async fn texts(streams: Stdio) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (streams.stdout.unwrap(), streams.stderr.unwrap());
    tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)).unwrap();
    (out, err)
}

fn rootfs() -> Vec<Mount> {
    let mount = |kind: &str, source: &str, target: &str, options: &[&str]| Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options: options.iter().map(|&word| word.to_owned()).collect(),
    };
    vec![
        mount("erofs", "serial:rootfs", "lower", &["ro"]),
        mount("ext4", "serial:scratch", "scratch", &[]),
        mount("overlay", "erofs+ext4", "", &["lowerdir=lower", "upperdir=scratch/upper", "workdir=scratch/work"]),
    ]
}

/// An OCI `process` object.
pub fn process(args: &[&str], terminal: bool) -> Value {
    let caps = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"];
    json!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": args,
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
    })
}

fn spec(args: &[&str], terminal: bool, memory: Option<u64>) -> Value {
    let namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    let memory = memory.map_or(json!({}), |limit| json!({"limit": limit, "swap": limit}));
    json!({
        "ociVersion": "1.0.2",
        "process": process(args, terminal),
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "namespaces": namespaces,
            // Of this process alone: where tests run as processes, several boot at once.
            "cgroupsPath": format!("/hako-microvm-test-{}", std::process::id()),
            "resources": {"memory": memory, "pids": {"limit": 128}},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}
