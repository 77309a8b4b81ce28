//! `hako volume`.

use super::inspect::Inspect;
use super::many::for_each;
use super::prune::{confirmed, report};
use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use crate::flags::{filters, pairs};
use crate::format::{Column, Listing, Row, human_size};
use crate::term::print_line;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Manage volumes
#[derive(Debug, Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a volume
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all details of volumes as JSON
    Inspect(Details),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove volumes that no container has
    Prune(Prune),
}

/// Flags of `volume create`.
#[derive(Debug, Args)]
struct Create {
    /// Volume driver
    #[arg(short = 'd', long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Set metadata for the volume
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Driver options: type, device, o
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Its name; without one the engine chooses
    #[arg(long = "name", value_name = "NAME", hide = true)]
    named: Option<String>,
    /// Its name; without one the engine chooses
    #[arg(value_name = "VOLUME", conflicts_with = "named")]
    name: Option<String>,
}

/// Flags of `volume ls`.
#[derive(Debug, Args)]
struct Ls {
    /// Only what these conditions allow (e.g. "dangling=true")
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only show names
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Flags of `volume inspect`.
#[derive(Debug, Args)]
struct Details {
    /// Format output: json, or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Flags of `volume rm`.
#[derive(Debug, Args)]
struct Rm {
    /// It is no error if one is not there
    #[arg(short = 'f', long)]
    force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Flags of `volume prune`.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Remove volumes with names as well, not just anonymous ones
    #[arg(short = 'a', long)]
    all: bool,
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    /// Only what these conditions allow (e.g. "label=<label>")
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Volume {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match self.command {
            Command::Create(create) => create.run(client).await,
            Command::Ls(ls) => ls.run(client).await,
            Command::Inspect(Details { format, volumes }) => Inspect::of("volume", format, volumes).run(client).await,
            Command::Rm(rm) => rm.run(client).await,
            Command::Prune(prune) => prune.run(client).await,
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<()> {
        let body = json!({
            "Name": self.name.or(self.named).unwrap_or_default(),
            "Driver": self.driver,
            "DriverOpts": pairs(&self.options),
            "Labels": pairs(&self.label),
        });
        let answer = client.post_json("/volumes/create", body).await?;
        let name = answer["Name"].as_str().ok_or_else(|| Error::msg("the engine's answer has no name of a volume"))?;
        print_line(name)
    }
}

const COLUMNS: &[Column] = &[
    Column { field: "Driver", head: "DRIVER" },
    Column { field: "Name", head: "VOLUME NAME" },
    Column { field: "Scope", head: "SCOPE" },
    Column { field: "Mountpoint", head: "MOUNTPOINT" },
    Column { field: "Labels", head: "LABELS" },
    Column { field: "Links", head: "LINKS" },
    Column { field: "Size", head: "SIZE" },
];

impl Ls {
    async fn run(self, client: &Client) -> Result<()> {
        let path = Query::default().opt("filters", filters(&self.filter)?.as_deref()).on("/volumes");
        let answer = client.get(&path).await?;
        let mut rows: Vec<Row> = answer["Volumes"].as_array().into_iter().flatten().map(row).collect();
        rows.sort_by_key(|row| row.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned());
        Listing {
            columns: COLUMNS,
            default: &["Driver", "Name"],
            format: self.format.as_deref(),
            quiet: self.quiet.then_some("Name"),
        }
        .show(&rows)
    }
}

fn row(volume: &Value) -> Row {
    let text = |key: &str| volume[key].as_str().unwrap_or_default().to_owned();
    let labels: Vec<String> = volume["Labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let fields = [
        ("Driver", text("Driver")),
        ("Name", text("Name")),
        ("Scope", text("Scope")),
        ("Mountpoint", text("Mountpoint")),
        ("Labels", labels.join(",")),
        // Only `system df` knows.
        ("Links", "N/A".to_owned()),
        ("Size", "N/A".to_owned()),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

impl Rm {
    async fn run(self, client: &Client) -> Result<()> {
        for_each(&self.volumes, |name| async move {
            let query = Query::default().flag("force", self.force);
            client.delete(&query.on(format!("/volumes/{}", escape(name)))).await.map(|_| name.to_owned())
        })
        .await
    }
}

impl Prune {
    async fn run(self, client: &Client) -> Result<()> {
        let what = if self.all { "all volumes" } else { "all anonymous volumes" };
        let question = format!("This removes {what} that no container has. Continue? [y/N] ");
        if !self.force && !confirmed("volume prune", &question)? {
            return Ok(());
        }
        let reclaimed = volumes(client, self.all, self.filter).await?;
        print_line(format_args!("Total reclaimed space: {}", human_size(reclaimed)))
    }
}

/// Prunes volumes and says which; the bytes that came free.
pub(super) async fn volumes(client: &Client, all: bool, mut conditions: Vec<String>) -> Result<i64> {
    conditions.extend(all.then(|| "all=true".to_owned()));
    let path = Query::default().opt("filters", filters(&conditions)?.as_deref()).on("/volumes/prune");
    report(&client.post(&path).await?, "VolumesDeleted", "Deleted Volumes")
}
