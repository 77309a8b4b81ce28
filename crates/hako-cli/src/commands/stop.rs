//! `hako stop`.

use super::many::for_each;
use crate::api::{Client, Query, escape};
use crate::error::Result;
use clap::Args;

/// Stop running containers
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Signal to send to the container
    #[arg(short = 's', long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        stop(client, "stop", self.signal.as_deref(), self.timeout, &self.containers).await
    }
}

/// `POST /containers/NAME/stop` or `restart` for each name.
pub(super) async fn stop(
    client: &Client,
    verb: &str,
    signal: Option<&str>,
    timeout: Option<i64>,
    names: &[String],
) -> Result<()> {
    let timeout = timeout.map(|seconds| seconds.to_string());
    let timeout = timeout.as_deref();
    for_each(names, |name| async move {
        let path =
            Query::default().opt("signal", signal).opt("t", timeout).on(format!("/containers/{}/{verb}", escape(name)));
        client.post(&path).await.map(|_| name.to_owned())
    })
    .await
}
