//! `hako restart`.

use super::stop::stop;
use crate::api::Client;
use crate::error::Result;
use clap::Args;

/// Restart containers
#[derive(Debug, Args)]
pub(crate) struct Restart {
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

impl Restart {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        stop(client, "restart", self.signal.as_deref(), self.timeout, &self.containers).await
    }
}
