//! A running VM: QEMU's process and the sockets to it.

use crate::{
    Error, Machine, Memory, Qmp, Result, discard,
    machine::Sockets,
    spawn,
    tail::Tail,
    usage::{ProcDir, Usage},
};
use std::{fs::File, os::unix::net::UnixStream as StdUnixStream, path::Path, process::ExitStatus, time::Duration};
use tokio::{
    net::UnixStream,
    process::Child,
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::timeout,
};

/// How many lines of the console and of QEMU's own words an error shows.
const SHOWN: usize = 12;

/// One QEMU process. Dropping it kills the process.
#[derive(Debug)]
pub struct Vm {
    pid: i32,
    proc: Option<ProcDir>,
    qmp: Mutex<Qmp>,
    console: Tail,
    stderr: Tail,
    ended: watch::Receiver<Option<String>>,
    kill: std::sync::Arc<Notify>,
    /// What it reads a template's state from, by its number.
    pub(crate) incoming: Option<i32>,
    tasks: Vec<JoinHandle<()>>,
}

/// Kills a VM, for who does not hold it.
#[derive(Debug, Clone)]
pub struct KillSwitch(std::sync::Arc<Notify>);

impl KillSwitch {
    /// Kills QEMU; nothing happens if it has ended.
    pub fn kill(&self) {
        self.0.notify_one();
    }
}

impl Vm {
    /// Starts `machine`; the guest's console goes to `console_log` as well, if
    /// there is one. Returns the VM and our end of the agent's port.
    ///
    /// QEMU gets the parent-death signal of the calling thread: it dies with it.
    /// A copy of a template stands still until [`Self::wake`].
    ///
    /// # Errors
    /// QEMU is not installed, or one of the machine's files cannot be opened.
    pub fn spawn(machine: &Machine, console_log: Option<&Path>) -> Result<(Self, UnixStream)> {
        let log = match console_log {
            Some(path) => Some(File::create(path).map_err(|source| Error::Open { path: path.to_owned(), source })?),
            None => None,
        };
        let (agent, agent_qemu) = pair()?;
        let (console, console_qemu) = pair()?;
        let (qmp, qmp_qemu) = pair()?;
        let sockets = Sockets { agent: agent_qemu.into(), console: console_qemu.into(), qmp: qmp_qemu.into() };
        let line = machine.command_line(sockets)?;
        let incoming = line.incoming;
        let memory_at = line.memory_at.clone();
        let (mut child, discards) = spawn::spawn(machine, line)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        let proc = ProcDir::of(pid);
        let (console_tail, stderr_tail) = (Tail::default(), Tail::default());
        if let (Some(discards), Memory::Copy(template)) = (discards, &machine.memory) {
            tokio::spawn(discard::serve(
                discards,
                pid,
                template.memory.clone(),
                memory_at,
                machine.forgets_free_pages(),
            ));
        }
        let mut tasks = vec![tokio::spawn(console_tail.clone().drain(console, log))];
        if let Some(stderr) = child.stderr.take() {
            tasks.push(tokio::spawn(stderr_tail.clone().drain(stderr, None)));
        }
        let (said, ended) = watch::channel(None);
        let kill = std::sync::Arc::new(Notify::new());
        tokio::spawn(watch_over(child, kill.clone(), said));
        let vm = Self {
            pid,
            proc,
            qmp: Mutex::new(Qmp::new(qmp)),
            console: console_tail,
            stderr: stderr_tail,
            ended,
            kill,
            incoming,
            tasks,
        };
        Ok((vm, agent))
    }

    /// QEMU's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has used of the host; `None` once it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.proc.as_ref()?.usage()
    }

    /// The control connection.
    #[must_use]
    pub fn qmp(&self) -> &Mutex<Qmp> {
        &self.qmp
    }

    /// Whether QEMU has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until QEMU has ended and says how.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let status = match ended.wait_for(Option::is_some).await {
            Ok(status) => status.clone(),
            Err(_) => None,
        };
        status.unwrap_or_else(|| "qemu ended".to_owned())
    }

    /// Kills this VM, whoever holds it.
    #[must_use]
    pub fn kill_switch(&self) -> KillSwitch {
        KillSwitch(self.kill.clone())
    }

    /// Kills QEMU and waits until it is gone.
    pub async fn kill(&self) {
        self.kill.notify_one();
        self.ended().await;
    }

    /// Ends QEMU in order, and by force if it takes longer than `patience`.
    pub async fn quit(&self, patience: Duration) {
        let orderly = async {
            // An error means that QEMU is gone or deaf; the deadline tells which.
            let _ = self.qmp.lock().await.quit().await;
            self.ended().await
        };
        if timeout(patience, orderly).await.is_err() {
            self.kill().await;
        }
    }

    /// The last lines of the guest's console and of QEMU's stderr, for an error text.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        for (title, tail) in [("qemu", &self.stderr), ("guest console", &self.console)] {
            let lines = tail.lines(SHOWN);
            if !lines.is_empty() {
                text.push_str(&format!("\n--- {title}:\n{lines}"));
            }
        }
        if text.is_empty() {
            text.push_str(" (neither qemu nor the guest's console said anything)");
        }
        text
    }

    /// The last line that QEMU said, or else the guest's console: for a text of one line.
    #[must_use]
    pub fn last_line(&self) -> String {
        let lines = [self.stderr.lines(1), self.console.lines(1)];
        lines.into_iter().find(|line| !line.is_empty()).unwrap_or_else(|| "it ended without a word".to_owned())
    }

    /// Waits until the output of an ended QEMU has been read, so that
    /// [`Self::last_words`] are really the last.
    pub async fn drained(&mut self) {
        for task in &mut self.tasks {
            // A panic in a reader loses text, no more.
            let _ = timeout(Duration::from_secs(1), task).await;
        }
        self.tasks.clear();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill.notify_one();
    }
}

fn pair() -> Result<(UnixStream, StdUnixStream)> {
    let step = Error::io("make a socket pair");
    let made = StdUnixStream::pair().and_then(|(ours, theirs)| {
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs))
    });
    made.map_err(step)
}

/// Owns the process: kills it on demand, and says how it ended.
async fn watch_over(mut child: Child, kill: std::sync::Arc<Notify>, said: watch::Sender<Option<String>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => {
            // It may be dead already.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    // An error means that another part of this process has reaped it.
    let text = status.map_or_else(|_| "qemu ended".to_owned(), describe);
    said.send_replace(Some(text));
}

fn describe(status: ExitStatus) -> String {
    format!("qemu ended ({status})")
}
