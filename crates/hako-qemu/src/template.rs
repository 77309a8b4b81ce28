//! A guest is booted once, halted and saved; others go on where it stood.
//!
//! ```text
//! Memory::File ── boots, says hello ── save: state to us, QEMU ends ──► Template
//! Memory::Copy ── spawn: no instruction yet ── wake: state from us ──► the guest runs
//! ```
//!
//! The memory is not in the state: QEMU leaves out what is in a shared file
//! (`x-ignore-shared`), and a copy maps the same file privately.

use crate::{Command, Error, Memory, PROBE_HELLO, Result, Template, Vm};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

/// How long QEMU may take to save its state.
const SAVE: Duration = Duration::from_secs(30);
/// How often it is asked whether it has: it tells nobody who does not ask.
const PAUSE: Duration = Duration::from_millis(5);
/// A state is tens of KiB; a pipe of a host holds this much.
const MOST_STATE: usize = 1 << 20;
/// How long it may take to end, once it is saved.
const QUIT: Duration = Duration::from_secs(5);
/// How long a copy may take to take its orders: many may begin at once on a busy host.
const WAKING: Duration = Duration::from_secs(30);

fn ignore_shared() -> Value {
    json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]})
}

impl Vm {
    /// Waits until the guest of a template, whose port is `agent`, is ready.
    ///
    /// # Errors
    /// It said something else, or ended.
    pub async fn hello(&self, agent: &mut UnixStream) -> Result<()> {
        let mut hello = [0; PROBE_HELLO.len()];
        let said = tokio::select! {
            read = agent.read_exact(&mut hello) => read.map(drop),
            how = self.ended() => Err(io::Error::other(how)),
        };
        said.map_err(Error::io("wait for a template's guest"))?;
        if hello != PROBE_HELLO {
            return Err(Error::io("wait for a template's guest")(io::ErrorKind::InvalidData.into()));
        }
        Ok(())
    }

    /// Saves the machine, which is over then. `memory` is the file of its
    /// [`Memory::File`]; the template has it.
    ///
    /// # Errors
    /// QEMU's refusal or end; a state that is too large.
    pub async fn save(self, memory: Arc<OwnedFd>) -> Result<Template> {
        let (reader, writer) = io::pipe().map_err(Error::io("make a pipe"))?;
        let read = tokio::task::spawn_blocking(move || {
            let mut state = Vec::new();
            File::from(OwnedFd::from(reader)).take(MOST_STATE as u64 + 1).read_to_end(&mut state).map(|_| state)
        });
        let saved = timeout(SAVE, self.migrate(writer.into())).await;
        saved.unwrap_or_else(|_| Err(Error::qmp("migrate", "the state was not saved in time")))?;
        self.quit(QUIT).await;
        let state = read.await.map_err(|err| Error::io("read a template's state")(io::Error::other(err)))?;
        let state = state.map_err(Error::io("read a template's state"))?;
        if state.is_empty() || state.len() > MOST_STATE {
            let text = format!("a state of {} bytes", state.len());
            return Err(Error::io("read a template's state")(io::Error::other(text)));
        }
        Ok(Template { memory, state: state.into() })
    }

    async fn migrate(&self, to: OwnedFd) -> Result<()> {
        let mut qmp = self.qmp().lock().await;
        qmp.execute("migrate-set-capabilities", ignore_shared()).await?;
        qmp.pass("state", to.as_fd()).await?;
        drop(to);
        qmp.execute("migrate", json!({"uri": "fd:state"})).await?;
        loop {
            let reply = qmp.execute("query-migrate", Value::Null).await?;
            match reply.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why = reply.get("error-desc").and_then(Value::as_str).unwrap_or("failed");
                    return Err(Error::qmp("migrate", why));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Lets a copy of a template go on: at once, without an answer of the guest.
    /// One that cannot ends.
    ///
    /// # Errors
    /// QEMU's refusal or end; it is no copy, or is awake.
    pub async fn wake(&mut self) -> Result<()> {
        let fd = self.incoming.take().ok_or_else(|| Error::qmp("migrate-incoming", "nothing to wake"))?;
        let mut qmp = self.qmp().lock().await;
        let command = |name, arguments| Command { name, arguments, fd: None };
        let commands = [
            command("migrate-set-capabilities", ignore_shared()),
            command("migrate-incoming", json!({"uri": format!("fd:{fd}")})),
        ];
        qmp.execute_all(&commands, WAKING).await
    }
}

impl Memory {
    /// Whether it is a template's.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        matches!(self, Self::Copy(_))
    }
}
