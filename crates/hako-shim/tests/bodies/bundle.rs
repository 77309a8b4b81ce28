//! What a container is made of: busybox, an OCI spec, and what varies.

use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::Path};

pub(crate) struct Options {
    pub(crate) args: Vec<String>,
    pub(crate) terminal: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) memory: Option<u64>,
    pub(crate) mode: Mode,
}

/// How many layers the root filesystem has.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Plain,
    ManyLayers,
}

impl Options {
    pub(crate) fn sh(script: &str) -> Self {
        Self::args(&["sh", "-c", script])
    }
    pub(crate) fn args(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            terminal: false,
            open_stdin: false,
            stdin_once: false,
            memory: Some(64 << 20),
            mode: Mode::Plain,
        }
    }
    pub(crate) fn tty(mut self) -> Self {
        self.terminal = true;
        self
    }
    pub(crate) fn stdin(mut self, once: bool) -> Self {
        self.open_stdin = true;
        self.stdin_once = once;
        self
    }
}

/// An OCI process.
pub(crate) fn process(args: &[&str], terminal: bool) -> Value {
    let caps = json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        "noNewPrivileges": true,
    })
}

pub(crate) fn spec(id: &str, options: &Options) -> Value {
    let args: Vec<&str> = options.args.iter().map(String::as_str).collect();
    json!({
        "ociVersion": "1.0.2", "hostname": "shimtest",
        "process": process(&args, options.terminal),
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": format!("/hako-shim-test-{id}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            "resources": {"memory": {"limit": options.memory}, "pids": {"limit": 64},
                "devices": [{"allow": true, "access": "rwm"}]},
        },
    })
}

pub(crate) fn busybox(layer: &Path) {
    let bin = layer.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for dir in ["proc", "dev", "tmp", "sys", "etc"] {
        fs::create_dir_all(layer.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in
        ["sh", "cat", "echo", "sleep", "true", "stty", "seq", "dd", "head", "kill", "wc", "tty", "ps", "yes", "tail"]
    {
        symlink("busybox", bin.join(name)).unwrap();
    }
    fs::write(bin.join("not-executable"), "x").unwrap();
}
