//! The contract of [`Sandbox`](crate::Sandbox), as cases that every
//! implementation must pass.
//!
//! An implementation's test gives a [`Fixture`], which makes sandboxes with a
//! root filesystem of busybox, and prints what [`run`] returns.

mod cases;
mod execs;

use crate::{CreateRequest, Output, Sandbox, Stdio, StdioRequest};
use async_trait::async_trait;
use hako_model::{ExitDetails, Result};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

/// How long one case may take. A guest that is emulated is slow.
const LIMIT: Duration = Duration::from_secs(120);

/// A sandbox with nothing in it, and what will create a container in it.
pub struct Subject {
    /// The sandbox.
    pub sandbox: Arc<dyn Sandbox>,
    /// The request, bundle written.
    pub request: CreateRequest,
}

/// Makes what the cases work on.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A new subject. The bundle's `process` is `process`; the first one's
    /// memory limit is `memory` bytes.
    async fn subject(&self, process: Value, stdio: StdioRequest, memory: u64) -> Result<Subject>;
    /// Says what a deleted (or never created) container has left behind.
    async fn leftovers(&self, subject: &Subject) -> Vec<String>;
}

/// What came of one case.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: &'static str,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A case's result; the text says what was expected and what came.
type Case = std::result::Result<(), String>;

/// Runs every case, one after the other; `only` chooses those whose name has it.
pub async fn run(fixture: &dyn Fixture, only: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    macro_rules! cases {
        ($($module:ident :: $name:ident),* $(,)?) => { $(
            if stringify!($name).contains(only) {
                let done = tokio::time::timeout(LIMIT, $module::$name(fixture)).await;
                let failure = done.unwrap_or_else(|_| Err("it takes too long".to_owned())).err();
                outcomes.push(Outcome { case: stringify!($name), failure });
            }
        )* };
    }
    cases!(
        cases::exit_codes_pass,
        cases::death_by_signal_is_128_and_the_signal,
        cases::stdin_ends_when_it_is_dropped,
        cases::stdout_and_stderr_are_apart,
        cases::without_stdin_the_process_reads_nothing,
        cases::a_tty_has_a_size_and_one_stream,
        cases::a_missing_program_fails_create_and_leaves_nothing,
        cases::a_second_create_is_refused,
        cases::verbs_before_create_and_after_delete_are_refused,
        cases::kill_all_reaches_every_process,
        cases::pause_and_resume,
        cases::figures_of_the_workload,
        cases::processes_and_what_they_are,
        cases::a_limit_can_be_changed,
        cases::out_of_memory_is_told,
        cases::without_a_network_there_is_a_loopback,
        cases::an_interface_that_is_not_there_is_said_so,
        cases::delete_ends_what_runs,
        execs::an_exec_has_its_own_streams_and_end,
        execs::an_exec_with_a_tty,
        execs::an_exec_that_cannot_start_says_why,
        execs::a_running_exec_is_not_forgotten,
        execs::the_containers_end_ends_its_execs,
    );
    outcomes
}

/// An OCI process of these arguments.
#[must_use]
pub fn process(args: &[&str], terminal: bool) -> Value {
    let caps = json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
    })
}

/// An OCI bundle's `config.json` for `process`.
#[must_use]
pub fn spec(process: Value, cgroups_path: &str, memory: u64) -> Value {
    json!({
        "ociVersion": "1.0.2", "hostname": "conformance", "process": process,
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            "resources": {"memory": {"limit": memory}, "pids": {"limit": 64},
                "devices": [{"allow": true, "access": "rwm"}]},
        },
    })
}

/// Memory for a workload that needs little.
const MEMORY: u64 = 64 << 20;
const PIPES: StdioRequest = StdioRequest { terminal: false, stdin: false };
const PIPES_WITH_STDIN: StdioRequest = StdioRequest { terminal: false, stdin: true };
const TTY: StdioRequest = StdioRequest { terminal: true, stdin: true };

fn ensure(holds: bool, what: impl Into<String>) -> Case {
    if holds { Ok(()) } else { Err(what.into()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Case {
    ensure(got == want, format!("{what}: {got:?}, expected {want:?}"))
}

fn text(err: hako_model::Error) -> String {
    err.message
}

async fn read_all(output: Option<Output>) -> std::result::Result<String, String> {
    let mut all = Vec::new();
    if let Some(mut output) = output {
        output.read_to_end(&mut all).await.map_err(|err| format!("read output: {err}"))?;
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// A created container under test.
struct Made<'a> {
    fixture: &'a dyn Fixture,
    subject: Subject,
    stdio: Stdio,
}

impl<'a> Made<'a> {
    async fn create(
        fixture: &'a dyn Fixture,
        args: &[&str],
        stdio: StdioRequest,
        memory: u64,
    ) -> std::result::Result<Self, String> {
        let subject = fixture.subject(process(args, stdio.terminal), stdio, memory).await.map_err(text)?;
        let (pid, stdio) = subject.sandbox.create(subject.request.clone()).await.map_err(text)?;
        ensure(pid > 0, "the pid is positive")?;
        Ok(Self { fixture, subject, stdio })
    }

    async fn sh(fixture: &'a dyn Fixture, script: &str) -> std::result::Result<Self, String> {
        Self::create(fixture, &["sh", "-c", script], PIPES, MEMORY).await
    }

    fn sandbox(&self) -> &dyn Sandbox {
        &*self.subject.sandbox
    }

    async fn start(&self) -> Case {
        self.sandbox().start(None).await.map(drop).map_err(text)
    }

    async fn ended(&self) -> std::result::Result<ExitDetails, String> {
        self.sandbox().wait(None).await.map_err(text)
    }

    /// Waits for this exit code, deletes, and looks for leftovers.
    async fn ends_with(self, code: i32) -> Case {
        same("exit code", self.ended().await?.exit_code, code)?;
        same("exit code, asked again", self.ended().await?.exit_code, code)?;
        self.delete().await
    }

    async fn delete(self) -> Case {
        self.sandbox().delete(None).await.map_err(text)?;
        let left = self.fixture.leftovers(&self.subject).await;
        ensure(left.is_empty(), format!("left behind: {left:?}"))
    }
}
