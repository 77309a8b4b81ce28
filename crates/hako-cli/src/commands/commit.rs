//! `hako commit`.

use crate::api::{Client, Query};
use crate::error::{Error, Result};
use crate::term::print_line;
use clap::Args;
use serde_json::{Value, json};

/// Make an image of a container's changes
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Author (e.g., "Jane Doe <jane@example.com>")
    #[arg(short = 'a', long)]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Commit message
    #[arg(short = 'm', long)]
    message: Option<String>,
    /// Pause the container during commit
    #[arg(short = 'p', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pause: bool,
    /// The container
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Commit {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let name = self.name.as_deref().unwrap_or_default();
        // A colon before the last slash is a port's.
        let (repo, tag) = match name.rsplit_once(':') {
            Some((repo, tag)) if !tag.contains('/') => (repo, Some(tag)),
            _ => (name, None),
        };
        let mut query = Query::default()
            .set("container", &self.container)
            .opt("repo", Some(repo).filter(|repo| !repo.is_empty()))
            .opt("tag", tag)
            .opt("author", self.author.as_deref())
            .opt("comment", self.message.as_deref())
            .set("pause", if self.pause { "1" } else { "0" });
        for change in &self.change {
            query = query.set("changes", change);
        }
        let answer = client.post_json(&query.on("/commit"), json!({})).await?;
        let id = answer.get("Id").and_then(Value::as_str);
        print_line(id.ok_or_else(|| Error::msg("the engine's answer has no image id"))?)
    }
}
