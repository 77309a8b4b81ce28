//! The process wall against the contract. Needs root, busybox and
//! `hako-runtime` beside the tests' folder (or `HAKO_RUNTIME`).
//!
//! One test: the reaper collects every child of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by panicking")]

use async_trait::async_trait;
use hako_model::Result;
use hako_sandbox::{
    CreateRequest, Mount, Sandbox, StdioRequest,
    conformance::{self, Fixture, Subject},
    process::{ProcessConfig, ProcessSandbox, Reaper},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

struct OnThisKernel {
    dir: tempfile::TempDir,
    runtime: PathBuf,
    reaper: Reaper,
    next: AtomicU32,
    made: Mutex<Vec<Arc<dyn Sandbox>>>,
}

fn runtime() -> PathBuf {
    match std::env::var_os("HAKO_RUNTIME") {
        Some(path) => path.into(),
        // target/<triple>/release/deps/<test> → target/<triple>/release/hako-runtime
        None => std::env::current_exe().unwrap().parent().unwrap().with_file_name("hako-runtime"),
    }
}

fn busybox(layer: &Path) {
    for dir in ["bin", "proc", "dev", "tmp", "sys", "etc"] {
        fs::create_dir_all(layer.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
    for name in ["sh", "cat", "echo", "sleep", "true", "stty"] {
        symlink("busybox", layer.join("bin").join(name)).unwrap();
    }
}

#[async_trait]
impl Fixture for OnThisKernel {
    async fn subject(&self, process: Value, stdio: StdioRequest, memory: u64) -> Result<Subject> {
        let id = format!("conformance-{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir.path().join(&id);
        let bundle = dir.join("bundle");
        fs::create_dir_all(bundle.join("rootfs"))?;
        let spec = conformance::spec(process, &format!("/hako-{id}"), memory);
        fs::write(bundle.join("config.json"), spec.to_string())?;
        let config = ProcessConfig {
            runtime: self.runtime.clone(),
            runtime_root: dir.join("runtime"),
            dir: dir.clone(),
            rootfs_mounted: false,
            standby: None,
        };
        let rootfs = vec![Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec![
                format!("lowerdir={}", self.dir.path().join("layer").display()),
                format!("upperdir={}", dir.join("upper").display()),
                format!("workdir={}", dir.join("work").display()),
            ],
        }];
        let sandbox: Arc<dyn Sandbox> = Arc::new(ProcessSandbox::new(config, self.reaper.clone()));
        self.made.lock().unwrap().push(sandbox.clone());
        Ok(Subject { sandbox, request: CreateRequest { id, bundle, rootfs, stdio } })
    }

    async fn leftovers(&self, subject: &Subject) -> Vec<String> {
        let id = &subject.request.id;
        let mut left = Vec::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(id.as_str())).map(str::to_owned));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join(format!("hako-{id}"));
            if group.exists() {
                left.push(group.display().to_string());
            }
        }
        let dir = self.dir.path().join(id);
        for entry in fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !["bundle", "runtime", "upper", "work"].contains(&name.as_str()) {
                left.push(name);
            }
        }
        if dir.join("runtime").join(id).exists() {
            left.push(format!("runtime/{id}"));
        }
        left
    }
}

#[tokio::test]
async fn the_process_wall_keeps_the_contract() {
    let dir = tempfile::Builder::new().prefix("conformance").tempdir().unwrap();
    busybox(&dir.path().join("layer"));
    let fixture = OnThisKernel {
        dir,
        runtime: runtime(),
        reaper: Reaper::start().unwrap(),
        next: AtomicU32::new(0),
        made: Mutex::default(),
    };
    let only = std::env::var("CONFORMANCE_CASE").unwrap_or_default();
    let outcomes = conformance::run(&fixture, &only).await;
    let made = std::mem::take(&mut *fixture.made.lock().unwrap());
    for sandbox in made {
        // A case that failed has left its container; the others have none.
        let _ = sandbox.delete(None).await;
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    assert!(failed.is_empty() && !outcomes.is_empty(), "{failed:#?}");
}
