//! `hako rename`.

use crate::api::{Client, Query, escape};
use crate::error::Result;
use clap::Args;

/// Rename a container
#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// The container
    container: String,
    /// Its new name
    new_name: String,
}

impl Rename {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let path =
            Query::default().set("name", &self.new_name).on(format!("/containers/{}/rename", escape(&self.container)));
        client.post(&path).await.map(drop)
    }
}
