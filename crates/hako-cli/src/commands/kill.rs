//! `hako kill`.

use super::many::for_each;
use crate::api::{Client, Query, escape};
use crate::error::Result;
use clap::Args;

/// Send a signal to running containers
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal to send to the container (default KILL)
    #[arg(short = 's', long)]
    signal: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let signal = self.signal.as_deref();
        for_each(&self.containers, |name| async move {
            let path = Query::default().opt("signal", signal).on(format!("/containers/{}/kill", escape(name)));
            client.post(&path).await.map(|_| name.to_owned())
        })
        .await
    }
}
