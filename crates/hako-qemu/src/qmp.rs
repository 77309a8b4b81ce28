//! QMP: QEMU's control socket, one JSON object a line.

use crate::{Error, Result};
use serde_json::{Value, json};
use std::{io, os::fd::BorrowedFd, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
    time::timeout,
};

/// How long QEMU may take to answer one command.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// The longest line that is read.
const MAX_LINE: u64 = 1024 * 1024;

/// One command, with a file for QEMU if it takes one.
#[derive(Debug)]
pub struct Command<'a> {
    /// QEMU's word.
    pub name: &'static str,
    /// An object, or nothing.
    pub arguments: Value,
    /// The file.
    pub fd: Option<BorrowedFd<'a>>,
}

/// A control connection. Commands are sent one after another.
#[derive(Debug)]
pub struct Qmp {
    io: BufReader<UnixStream>,
    greeted: bool,
}

impl Qmp {
    /// Over a connected socket; the greeting is awaited with the first command.
    #[must_use]
    pub fn new(io: UnixStream) -> Self {
        Self { io: BufReader::new(io), greeted: false }
    }

    /// Runs `command` and returns what QEMU answers.
    ///
    /// # Errors
    /// QEMU's refusal, a broken connection, or no answer within ten seconds.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let work = async {
            self.greet().await?;
            self.send(&request(command, arguments)).await?;
            self.reply(command).await
        };
        timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(Error::qmp(command, "no answer in time")))
    }

    /// Runs all of `commands`, without waiting for each. The first refusal is
    /// told; those after it were run all the same.
    ///
    /// # Errors
    /// As [`Self::execute`], but with `patience` for all of them.
    pub async fn execute_all(&mut self, commands: &[Command<'_>], patience: Duration) -> Result<()> {
        let work = async {
            self.greet().await?;
            for command in commands {
                self.send_with(command.name, command.arguments.clone(), command.fd).await?;
            }
            let mut first = Ok(());
            for command in commands {
                match self.reply(command.name).await {
                    Err(err @ Error::Qmp { .. }) => first = first.and(Err(err)),
                    other => drop(other?),
                }
            }
            first
        };
        let named = commands.first().map_or("nothing", |command| command.name);
        timeout(patience, work).await.unwrap_or_else(|_| Err(Error::qmp(named, "no answer in time")))
    }

    /// Gives QEMU `fd` under `name` (`getfd`).
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn pass(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.execute_with("getfd", json!({"fdname": name}), fd).await
    }

    async fn execute_with(&mut self, command: &str, arguments: Value, fd: BorrowedFd<'_>) -> Result<()> {
        let work = async {
            self.greet().await?;
            self.send_with(command, arguments, Some(fd)).await?;
            self.reply(command).await.map(drop)
        };
        timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(Error::qmp(command, "no answer in time")))
    }

    async fn send_with(&mut self, command: &str, arguments: Value, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let request = request(command, arguments);
        let Some(fd) = fd else { return self.send(&request).await };
        let text = line_of(&request);
        let socket = self.io.get_ref();
        let send = || hako_os::fd::send(socket, text.as_bytes(), &[fd]);
        // A line is short, and few are on their way: all of it fits.
        socket.async_io(Interest::WRITABLE, send).await.map(drop).map_err(Error::io("write to qmp"))
    }

    async fn greet(&mut self) -> Result<()> {
        if !self.greeted {
            self.line().await?;
            self.send(&json!({"execute": "qmp_capabilities"})).await?;
            self.reply("qmp_capabilities").await?;
            self.greeted = true;
        }
        Ok(())
    }

    /// Ends QEMU at once, without the guest's help.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn quit(&mut self) -> Result<()> {
        self.execute("quit", Value::Null).await.map(drop)
    }
    /// Halts the guest's CPUs.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn stop(&mut self) -> Result<()> {
        self.execute("stop", Value::Null).await.map(drop)
    }
    /// Lets them run again.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn cont(&mut self) -> Result<()> {
        self.execute("cont", Value::Null).await.map(drop)
    }
    /// QEMU's run state: `running`, `paused`, `shutdown`, …
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn status(&mut self) -> Result<String> {
        let reply = self.execute("query-status", Value::Null).await?;
        Ok(reply.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    async fn send(&mut self, request: &Value) -> Result<()> {
        self.io.get_mut().write_all(line_of(request).as_bytes()).await.map_err(Error::io("write to qmp"))
    }

    async fn line(&mut self) -> Result<Value> {
        let mut text = Vec::new();
        let mut limited = (&mut self.io).take(MAX_LINE);
        let n = limited.read_until(b'\n', &mut text).await.map_err(Error::io("read from qmp"))?;
        if n == 0 {
            return Err(Error::io("read from qmp")(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&text).map_err(|err| Error::io("read from qmp")(err.into()))
    }

    /// The next line that answers; events in between are passed over.
    async fn reply(&mut self, command: &str) -> Result<Value> {
        loop {
            let line = self.line().await?;
            if let Some(value) = line.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = line.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("refused");
                return Err(Error::qmp(command, text));
            }
        }
    }
}

fn request(command: &str, arguments: Value) -> Value {
    let mut request = json!({"execute": command});
    if !arguments.is_null() {
        request["arguments"] = arguments;
    }
    request
}

fn line_of(request: &Value) -> String {
    let mut text = request.to_string();
    text.push('\n');
    text
}
