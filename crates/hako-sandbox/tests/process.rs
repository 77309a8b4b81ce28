//! The process wall against the contract. Needs root, busybox and
//! `hako-runtime` beside the tests' folder (or `HAKO_RUNTIME`).
//!
//! One test: the reaper collects every child of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by panicking")]

use async_trait::async_trait;
use hako_model::{Error, Result};
use hako_sandbox::{
    CreateRequest, Mount, Sandbox, StdioRequest,
    conformance::{self, Fixture, Subject},
    process::{ProcessConfig, ProcessSandbox, Reaper, Standby},
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Who runs the commands of the runtime.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// One that is executed for it.
    Executed,
    /// One that waits.
    Waiting,
    /// One that waited and was killed, so one that is executed.
    Killed,
}

struct OnThisKernel {
    by: By,
    standbys: Mutex<Vec<Standby>>,
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

impl OnThisKernel {
    /// A new sandbox, and what to ask it for.
    async fn sandbox(
        &self,
        process: Value,
        stdio: StdioRequest,
        memory: u64,
    ) -> Result<(ProcessSandbox, CreateRequest)> {
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
            standby: self.standby().await?,
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
        let sandbox = ProcessSandbox::new(config, self.reaper.clone());
        Ok((sandbox, CreateRequest { id, bundle, rootfs, stdio }))
    }

    /// One whose root filesystem is not mounted in the end, and then is.
    async fn waits_for_its_root(&self) {
        let (sandbox, request) = self.sandbox(process_of("/bin/true"), NO_STREAMS, 64 << 20).await.unwrap();
        let late = Duration::from_millis(100);
        let fails = async {
            tokio::time::sleep(late).await;
            Err(Error::internal("no such disk"))
        };
        let Err(err) = sandbox.create_when(request.clone(), fails).await else { panic!("made without a root") };
        assert_eq!(err.message, "no such disk");
        let subject = Subject { sandbox: Arc::new(sandbox), request };
        assert_eq!(self.leftovers(&subject).await, Vec::<String>::new());

        let (sandbox, request) = self.sandbox(process_of("/bin/true"), NO_STREAMS, 64 << 20).await.unwrap();
        let begin = Instant::now();
        let comes = async {
            tokio::time::sleep(late).await;
            Ok(())
        };
        sandbox.create_when(request, comes).await.unwrap();
        assert!(begin.elapsed() >= late);
        sandbox.start(None).await.unwrap();
        assert_eq!(sandbox.wait(None).await.unwrap().exit_code, 0);
        sandbox.delete(None).await.unwrap();
    }

    async fn standby(&self) -> Result<Option<Standby>> {
        if self.by == By::Executed {
            return Ok(None);
        }
        let standby = Standby::new(self.runtime.clone(), self.reaper.clone());
        standby.fill(1).await?;
        if self.by == By::Killed {
            let pid = nix::unistd::Pid::from_raw(standby.pids()[0]);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        self.standbys.lock().unwrap().push(standby.clone());
        Ok(Some(standby))
    }
}

#[async_trait]
impl Fixture for OnThisKernel {
    async fn subject(&self, process: Value, stdio: StdioRequest, memory: u64) -> Result<Subject> {
        let (sandbox, request) = self.sandbox(process, stdio, memory).await?;
        let sandbox: Arc<dyn Sandbox> = Arc::new(sandbox);
        self.made.lock().unwrap().push(sandbox.clone());
        Ok(Subject { sandbox, request })
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

const NO_STREAMS: StdioRequest = StdioRequest { terminal: false, stdin: false };

fn process_of(program: &str) -> Value {
    json!({"args": [program], "cwd": "/", "user": {"uid": 0, "gid": 0}})
}

#[tokio::test]
async fn the_process_wall_keeps_the_contract() {
    let reaper = Reaper::start().unwrap();
    for by in [By::Executed, By::Waiting, By::Killed] {
        keeps_the_contract(by, reaper.clone()).await;
    }
}

async fn keeps_the_contract(by: By, reaper: Reaper) {
    let dir = tempfile::Builder::new().prefix("conformance").tempdir().unwrap();
    busybox(&dir.path().join("layer"));
    let fixture = OnThisKernel {
        by,
        standbys: Mutex::default(),
        dir,
        runtime: runtime(),
        reaper,
        next: AtomicU32::new(0),
        made: Mutex::default(),
    };
    let only = std::env::var("CONFORMANCE_CASE").unwrap_or_default();
    let outcomes = conformance::run(&fixture, &only).await;
    fixture.waits_for_its_root().await;
    let made = std::mem::take(&mut *fixture.made.lock().unwrap());
    for sandbox in made {
        // A case that failed has left its container; the others have none.
        let _ = sandbox.delete(None).await;
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    assert!(failed.is_empty() && !outcomes.is_empty(), "{by:?}: {failed:#?}");
    let left = fixture.standbys.lock().unwrap().iter().filter(|standby| !standby.pids().is_empty()).count();
    // A case may be about what comes before a container.
    assert!(left < outcomes.len(), "none that waited was used");
}
