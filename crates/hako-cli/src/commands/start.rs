//! `hako start`.

use super::many::for_each;
use super::run::{attach_path, finish};
use crate::api::{Client, RequestBody, escape};
use crate::error::{Error, Result};
use crate::flags::Attach;
use crate::session::{Resizer, Session, proxy_signals};
use crate::wait;
use clap::Args;
use serde_json::Value;

/// Start stopped containers
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short = 'a', long)]
    attach: bool,
    /// Attach container's STDIN
    #[arg(short = 'i', long)]
    interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match &self.containers[..] {
            [container] if self.attach || self.interactive => self.attached(client, container).await,
            _ if self.attach || self.interactive => {
                Err(Error::msg("you cannot start and attach multiple containers at once"))
            }
            containers => {
                for_each(containers, |name| async move {
                    client.post(&format!("/containers/{}/start", escape(name))).await.map(|_| name.to_owned())
                })
                .await
            }
        }
    }

    async fn attached(&self, client: &Client, name: &str) -> Result<()> {
        let details = client.get(&format!("/containers/{}/json", escape(name))).await?;
        let config = |key: &str| details.pointer(&format!("/Config/{key}")).and_then(Value::as_bool).unwrap_or(false);
        let id = details.get("Id").and_then(Value::as_str).unwrap_or(name);
        let stdin = self.interactive && config("OpenStdin");
        let session = Session { tty: config("Tty"), stdin, detach_keys: self.detach_keys.clone() };
        session.check_tty()?;
        if !session.tty {
            proxy_signals(client, id)?;
        }
        let attach = Attach { stdin, stdout: true, stderr: true };
        let removed = details.pointer("/HostConfig/AutoRemove").and_then(Value::as_bool) == Some(true);
        let path = attach_path(id, attach, self.detach_keys.as_deref());
        let condition = if removed { "removed" } else { "next-exit" };
        let (streams, waiting) =
            tokio::try_join!(client.hijack(&path, RequestBody::None), wait::register(client, id, condition))?;
        let resizer = session.tty.then(|| Resizer::new(client, format!("/containers/{id}/resize"))).transpose()?;
        client.post(&format!("/containers/{id}/start")).await?;
        if let Some(resizer) = resizer {
            tokio::spawn(resizer.follow());
        }
        finish(session.run(streams).await?, waiting).await
    }
}
