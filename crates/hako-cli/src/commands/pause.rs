//! `hako pause` and `hako unpause`.

use super::many::for_each;
use crate::api::{Client, escape};
use crate::error::Result;
use clap::Args;

/// Freeze all processes of containers
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        post(client, "pause", &self.containers).await
    }
}

/// Thaw all processes of containers
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Unpause {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        post(client, "unpause", &self.containers).await
    }
}

async fn post(client: &Client, verb: &str, names: &[String]) -> Result<()> {
    for_each(names, |name| async move {
        client.post(&format!("/containers/{}/{verb}", escape(name))).await.map(|_| name.to_owned())
    })
    .await
}
