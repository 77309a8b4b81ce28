//! `hako attach`.

use super::run::{attach_path, finish};
use crate::api::{Client, RequestBody, escape};
use crate::error::{Error, Result};
use crate::flags::Attach as Streams;
use crate::session::{Resizer, Session, proxy_signals};
use crate::wait;
use clap::Args;
use serde_json::Value;

/// Attach the terminal's streams to a running container
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    sig_proxy: bool,
    /// The container
    container: String,
}

impl Attach {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let details = client.get(&format!("/containers/{}/json", escape(&self.container))).await?;
        let is = |pointer: &str| details.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
        for (pointer, good, text) in [
            ("/State/Running", true, "cannot attach to a stopped container, start it first"),
            ("/State/Paused", false, "cannot attach to a paused container, unpause it first"),
            ("/State/Restarting", false, "cannot attach to a restarting container, wait until it is running"),
        ] {
            if is(pointer) != good {
                return Err(Error::msg(text));
            }
        }
        let id = details.get("Id").and_then(Value::as_str).unwrap_or(&self.container);
        let stdin = !self.no_stdin && is("/Config/OpenStdin");
        let session = Session { tty: is("/Config/Tty"), stdin, detach_keys: self.detach_keys.clone() };
        session.check_tty()?;
        if self.sig_proxy && !session.tty {
            proxy_signals(client, id)?;
        }
        let path = attach_path(id, Streams { stdin, stdout: true, stderr: true }, self.detach_keys.as_deref());
        let waiting = wait::register(client, id, "not-running").await?;
        let streams = client.hijack(&path, RequestBody::None).await?;
        if session.tty {
            tokio::spawn(Resizer::new(client, format!("/containers/{id}/resize"))?.follow());
        }
        finish(session.run(streams).await?, waiting).await
    }
}
