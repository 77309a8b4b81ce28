//! `hako image prune`, and what every prune says.

use crate::api::{Client, Query};
use crate::error::{Error, Result};
use crate::flags::filters;
use crate::format::human_size;
use crate::term::print_line;
use clap::Args;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Flags of `image prune` and `system prune`
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove all unused images, not just those without a name
    #[arg(short = 'a', long)]
    pub(super) all: bool,
    /// Do not ask
    #[arg(short = 'f', long)]
    pub(super) force: bool,
    /// Only what these conditions allow
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
}

impl Prune {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let what = if self.all { "all images without a container" } else { "all images without a name" };
        if !self.force && !confirmed("image prune", &format!("This removes {what}. Continue? [y/N] "))? {
            return Ok(());
        }
        let reclaimed = images(client, self.all, self.filter).await?;
        print_line(format_args!("Total reclaimed space: {}", human_size(reclaimed)))
    }
}

/// Prunes images and says which; the bytes that came free.
pub(super) async fn images(client: &Client, all: bool, mut conditions: Vec<String>) -> Result<i64> {
    conditions.extend(all.then(|| "dangling=false".to_owned()));
    let path = Query::default().opt("filters", filters(&conditions)?.as_deref()).on("/images/prune");
    report(&client.post(&path).await?, "ImagesDeleted", "Deleted Images")
}

/// Asks on a terminal; `verb` is what asks.
pub(super) fn confirmed(verb: &str, question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::msg(format!("{verb} asks first: use --force where there is no terminal")));
    }
    print!("{question}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints what was deleted; gives the bytes that came free.
pub(super) fn report(answer: &Value, key: &str, head: &str) -> Result<i64> {
    let items: Vec<&Value> = answer[key].as_array().into_iter().flatten().collect();
    if !items.is_empty() {
        print_line(format_args!("{head}:"))?;
    }
    for item in items {
        let (what, name) = match item.as_object().and_then(|entry| entry.iter().next()) {
            Some((what, name)) => (format!("{}: ", what.to_lowercase()), name),
            None => (String::new(), item),
        };
        print_line(format_args!("{what}{}", name.as_str().unwrap_or_default()))?;
    }
    Ok(answer["SpaceReclaimed"].as_i64().unwrap_or(0))
}
