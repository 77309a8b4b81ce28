//! `hako diff`.

use crate::api::{Client, escape};
use crate::error::Result;
use crate::term::print;
use clap::Args;

/// Show what a container has changed in its root filesystem
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The container
    container: String,
}

impl Diff {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let answer = client.get(&format!("/containers/{}/changes", escape(&self.container))).await?;
        let mut text = String::new();
        for change in answer.as_array().into_iter().flatten() {
            let kind = match change["Kind"].as_u64() {
                Some(0) => "C",
                Some(1) => "A",
                Some(2) => "D",
                _ => "?",
            };
            text.push_str(&format!("{kind} {}\n", change["Path"].as_str().unwrap_or_default()));
        }
        print(&text)
    }
}
