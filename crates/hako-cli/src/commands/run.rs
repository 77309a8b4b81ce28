//! `hako run`: create, attach, wait, start, in the order that loses nothing: the
//! streams and the wait stand before the process does.

use super::create::create;
use crate::api::{Client, Query, RequestBody};
use crate::error::{Error, Result, start_failure_code};
use crate::flags::{Attach, ContainerFlags, create_body};
use crate::session::{End, Resizer, Session, end_by_signal, proxy_signals};
use crate::term::print_line;
use crate::wait::{self, Waiting};
use clap::Args;

/// Create and run a new container from an image
#[derive(Debug, Args)]
#[command(override_usage = "hako run [FLAGS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Run {
    /// Run container in background and print container ID
    #[arg(short = 'd', long, help_heading = "Streams")]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS", help_heading = "Streams")]
    detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true, help_heading = "Streams")]
    sig_proxy: bool,
    #[command(flatten)]
    flags: ContainerFlags,
}

impl Run {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.detach && !self.flags.attach.is_empty() {
            return Err(Error::msg("conflicting options: cannot specify both --attach and --detach").with_code(125));
        }
        let session = Session {
            tty: self.flags.tty,
            stdin: self.flags.interactive && !self.detach,
            detach_keys: self.detach_keys.clone(),
        };
        session.check_tty()?;
        let (body, attach) = create_body(&self.flags, self.detach).map_err(|err| help(err.with_code(125)))?;
        let id = create(client, &self.flags, body).await.map_err(|err| help(err.with_code(125)))?;
        if self.detach {
            start(client, &id).await?;
            return print_line(id);
        }
        let session = Session { stdin: attach.stdin, ..session };
        self.attached(client, &id, &session, attach).await
    }

    async fn attached(&self, client: &Client, id: &str, session: &Session, attach: Attach) -> Result<()> {
        if self.sig_proxy {
            proxy_signals(client, id)?;
        } else if session.tty {
            end_by_signal()?;
        }
        let path = attach_path(id, attach, self.detach_keys.as_deref());
        let condition = if self.flags.rm { "removed" } else { "next-exit" };
        let streams = async {
            match attach.stdin || attach.stdout || attach.stderr {
                true => client.hijack(&path, RequestBody::None).await.map(Some),
                false => Ok(None),
            }
        };
        let (streams, waiting) =
            tokio::try_join!(streams, wait::register(client, id, condition)).map_err(|err| err.with_code(125))?;
        let resizer = session.tty.then(|| Resizer::new(client, format!("/containers/{id}/resize"))).transpose()?;
        if let Err(err) = start(client, id).await {
            if self.flags.rm {
                // The engine removes what could not start.
                let _ = tokio::time::timeout(std::time::Duration::from_secs(10), waiting.exit_code()).await;
            }
            return Err(err);
        }
        if let Some(resizer) = resizer {
            tokio::spawn(resizer.follow());
        }
        if !attach.stdout && !attach.stderr {
            print_line(id)?;
        }
        let end = match streams {
            Some(streams) => session.run(streams).await.map_err(|err| err.with_code(125))?,
            None => End::Eof,
        };
        finish(end, waiting).await
    }
}

/// The exit code of a session's end.
pub(super) async fn finish(end: End, waiting: Waiting) -> Result<()> {
    match end {
        End::Detached => Ok(()),
        End::BrokenPipe => Err(Error::exit(141)),
        End::Eof => match waiting.exit_code().await? {
            0 => Ok(()),
            code => Err(Error::exit(code)),
        },
    }
}

/// `POST /containers/ID/attach` for these streams.
pub(super) fn attach_path(id: &str, attach: Attach, keys: Option<&str>) -> String {
    Query::default()
        .flag("stream", true)
        .flag("stdin", attach.stdin)
        .flag("stdout", attach.stdout)
        .flag("stderr", attach.stderr)
        .opt("detachKeys", keys)
        .on(format!("/containers/{id}/attach"))
}

async fn start(client: &Client, id: &str) -> Result<()> {
    client.post(&format!("/containers/{id}/start")).await.map(drop).map_err(|err| {
        let code = start_failure_code(&err.to_string());
        help(err.with_code(code))
    })
}

/// Docker's closing line of a failed run.
fn help(err: Error) -> Error {
    match err {
        Error::Exit { code, message: Some(message) } => {
            Error::Exit { code, message: Some(format!("{message}\n\nRun 'hako run --help' for more information")) }
        }
        other => other,
    }
}
