//! `hako builder`: the cache of builds.

use super::system::{confirmed, report};
use crate::api::{Client, Query};
use crate::error::Result;
use crate::flags::{filters, size};
use crate::format::human_size;
use crate::term::print_line;
use clap::{Args, Subcommand};

/// Manage the cache of builds
#[derive(Debug, Args)]
pub(crate) struct Builder {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove build cache
    Prune(Prune),
}

/// Flags of `builder prune`.
#[derive(Debug, Args)]
struct Prune {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short = 'a', long)]
    all: bool,
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    /// Only what these conditions allow (e.g. "until=24h")
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Amount of disk space to keep for cache
    #[arg(long, value_name = "SIZE")]
    keep_storage: Option<String>,
}

impl Builder {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match self.command {
            Command::Prune(prune) => prune.run(client).await,
        }
    }
}

impl Prune {
    async fn run(self, client: &Client) -> Result<()> {
        let what = if self.all { "all build cache" } else { "all dangling build cache" };
        if !self.force && !confirmed("builder prune", &format!("This removes {what}. Continue? [y/N] "))? {
            return Ok(());
        }
        let keep = self.keep_storage.as_deref().map(size).transpose()?.map(|bytes| bytes.to_string());
        let path = Query::default()
            .flag("all", self.all)
            .opt("keep-storage", keep.as_deref())
            .opt("filters", filters(&self.filter)?.as_deref())
            .on("/build/prune");
        let reclaimed = report(&client.post(&path).await?, "CachesDeleted", "Deleted build cache objects")?;
        print_line(format_args!("Total reclaimed space: {}", human_size(reclaimed)))
    }
}
