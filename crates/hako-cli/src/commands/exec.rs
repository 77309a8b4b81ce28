//! `hako exec`.

use crate::api::{Client, RequestBody, escape};
use crate::error::{Error, Result, start_failure_code};
use crate::flags::variables;
use crate::session::{End, Resizer, Session, end_by_signal};
use crate::term::size;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Execute a command in a running container
#[derive(Debug, Args)]
#[command(override_usage = "hako exec [FLAGS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Exec {
    /// Run the command in the background
    #[arg(short = 'd', long)]
    detach: bool,
    /// Override the key sequence for detaching
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    tty: bool,
    /// User name or UID: NAME|UID[:GROUP|GID]
    #[arg(short = 'u', long)]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "PATH")]
    workdir: Option<String>,
    /// The container, then the command and its arguments
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, num_args = 2.., trailing_var_arg = true, hide = true)]
    words: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let session =
            Session { tty: self.tty, stdin: self.interactive && !self.detach, detach_keys: self.detach_keys.clone() };
        session.check_tty()?;
        let Some((container, command)) = self.words.split_first() else {
            return Err(Error::msg("a container and a command are needed"));
        };
        let path = format!("/containers/{}/exec", escape(container));
        let answer = client.post_json(&path, self.body(command, &session)?).await?;
        let id =
            answer.get("Id").and_then(Value::as_str).ok_or_else(|| Error::msg("the engine's answer has no exec id"))?;
        let start = format!("/exec/{id}/start");
        let mut options = json!({"Detach": self.detach, "Tty": self.tty});
        if let Some((rows, columns)) = size().filter(|_| self.tty) {
            options["ConsoleSize"] = json!([rows, columns]);
        }
        if self.detach {
            return client.post_json(&start, options).await.map(drop).map_err(failed);
        }
        let resizer = self.tty.then(|| Resizer::new(client, format!("/exec/{id}/resize"))).transpose()?;
        let streams = client.hijack(&start, RequestBody::Json(options)).await.map_err(failed)?;
        if self.tty {
            end_by_signal()?;
        }
        if let Some(resizer) = resizer {
            tokio::spawn(resizer.follow());
        }
        match session.run(streams).await? {
            End::Detached => Ok(()),
            End::BrokenPipe => Err(Error::exit(141)),
            End::Eof => exit_code(client, id).await,
        }
    }

    fn body(&self, command: &[String], session: &Session) -> Result<Value> {
        let mut body = json!({
            "User": self.user.as_deref().unwrap_or_default(),
            "Privileged": self.privileged,
            "Tty": self.tty,
            "AttachStdin": session.stdin,
            "AttachStdout": !self.detach,
            "AttachStderr": !self.detach,
            "Detach": self.detach,
            "DetachKeys": self.detach_keys.as_deref().unwrap_or_default(),
            "Env": variables(&self.env_file, &self.env)?,
            "WorkingDir": self.workdir.as_deref().unwrap_or_default(),
            "Cmd": command,
        });
        if let Some((rows, columns)) = size().filter(|_| self.tty) {
            body["ConsoleSize"] = json!([rows, columns]);
        }
        Ok(body)
    }
}

/// A command that cannot start ends as it would in a shell.
fn failed(err: Error) -> Error {
    match start_failure_code(&err.to_string()) {
        125 => err,
        code => err.with_code(code),
    }
}

async fn exit_code(client: &Client, id: &str) -> Result<()> {
    let details = client.get(&format!("/exec/{id}/json")).await?;
    match details.get("ExitCode").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok()) {
        Some(0) => Ok(()),
        Some(code) => Err(Error::exit(code)),
        None => Err(Error::msg("the engine does not know how the command ended")),
    }
}
