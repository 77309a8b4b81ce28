//! `hako network`.

mod connect;
mod create;

use super::many::for_each;
use super::prune::confirmed;
use super::ps::labels;
use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use crate::flags::filters;
use crate::format::{Column, Listing, Row, Template, short_id};
use crate::term::{print, print_line};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Manage networks
#[derive(Debug, Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect a container to a network
    Connect(connect::Connect),
    /// Create a network
    Create(create::Create),
    /// Disconnect a container from a network
    Disconnect(connect::Disconnect),
    /// Show all details of networks as JSON
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove the networks that no container asks for
    Prune(Prune),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// Flags of `network ls`.
#[derive(Debug, Args)]
struct Ls {
    /// Filter output based on conditions provided (e.g. "driver=bridge")
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show network IDs
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Flags of `network inspect`.
#[derive(Debug, Args)]
struct Inspect {
    /// Format output: json, or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Names or IDs of networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// Flags of `network prune`.
#[derive(Debug, Args)]
struct Prune {
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    /// Only what these conditions allow (e.g. "until=24h")
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// Flags of `network rm`.
#[derive(Debug, Args)]
struct Rm {
    /// Do not fail if the network does not exist
    #[arg(short = 'f', long)]
    force: bool,
    /// Names or IDs of networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Network {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match self.command {
            Command::Connect(connect) => connect.run(client).await,
            Command::Create(create) => create.run(client).await,
            Command::Disconnect(disconnect) => disconnect.run(client).await,
            Command::Inspect(inspect) => inspect.run(client).await,
            Command::Ls(ls) => ls.run(client).await,
            Command::Prune(prune) => prune.run(client).await,
            Command::Rm(rm) => rm.run(client).await,
        }
    }
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", head: "NETWORK ID" },
    Column { field: "Name", head: "NAME" },
    Column { field: "Driver", head: "DRIVER" },
    Column { field: "Scope", head: "SCOPE" },
    Column { field: "IPv4", head: "IPV4" },
    Column { field: "IPv6", head: "IPV6" },
    Column { field: "Internal", head: "INTERNAL" },
    Column { field: "Labels", head: "LABELS" },
    Column { field: "CreatedAt", head: "CREATED AT" },
];

impl Ls {
    async fn run(self, client: &Client) -> Result<()> {
        let query = Query::default().opt("filters", filters(&self.filter)?.as_deref());
        let answer = client.get(&query.on("/networks")).await?;
        let mut networks: Vec<&Value> = answer.as_array().into_iter().flatten().collect();
        networks.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
        let rows: Vec<Row> = networks.into_iter().map(|network| row(network, self.no_trunc)).collect();
        let quiet = self.quiet.then_some("ID");
        let default: &[&str] = &["ID", "Name", "Driver", "Scope"];
        Listing { columns: COLUMNS, default, format: self.format.as_deref(), quiet }.show(&rows)
    }
}

fn row(network: &Value, full: bool) -> Row {
    let text = |key: &str| network[key].as_str().unwrap_or_default();
    let flag = |key: &str| network[key].as_bool().unwrap_or_default().to_string();
    let fields = [
        ("ID", if full { text("Id") } else { short_id(text("Id")) }.into()),
        ("Name", text("Name").into()),
        ("Driver", text("Driver").into()),
        ("Scope", text("Scope").into()),
        ("IPv4", flag("EnableIPv4").into()),
        ("IPv6", flag("EnableIPv6").into()),
        ("Internal", flag("Internal").into()),
        ("Labels", labels(&network["Labels"]).into()),
        ("\0Labels", network["Labels"].clone()),
        ("CreatedAt", text("Created").into()),
    ];
    fields.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()
}

impl Inspect {
    async fn run(self, client: &Client) -> Result<()> {
        let format = self.format.as_deref().filter(|format| !format.is_empty());
        let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            let path = Query::default().flag("verbose", self.verbose).on(format!("/networks/{}", escape(name)));
            match client.get(&path).await {
                Ok(value) => found.push(value),
                Err(err) => failures.push(err),
            }
        }
        match &template {
            Some(template) => {
                for value in &found {
                    print_line(template.render(value)?)?;
                }
            }
            None if format.is_some() => print_line(Value::Array(found))?,
            None => print(&super::inspect::pretty(&Value::Array(found)))?,
        }
        for failure in &failures {
            eprintln!("hako: {failure}");
        }
        if failures.is_empty() { Ok(()) } else { Err(Error::exit(1)) }
    }
}

impl Rm {
    async fn run(self, client: &Client) -> Result<()> {
        let force = self.force;
        for_each(&self.names, |name| async move {
            match client.delete(&format!("/networks/{}", escape(name))).await {
                Err(err) if force && err.is_not_found() => Ok(String::new()),
                Err(err) => Err(err),
                Ok(_) => Ok(name.to_owned()),
            }
        })
        .await
    }
}

impl Prune {
    async fn run(self, client: &Client) -> Result<()> {
        let question = "This removes all networks that no container asks for. Continue? [y/N] ";
        if !self.force && !confirmed("network prune", question)? {
            return Ok(());
        }
        let path = Query::default().opt("filters", filters(&self.filter)?.as_deref()).on("/networks/prune");
        super::prune::report(&client.post(&path).await?, "NetworksDeleted", "Deleted Networks").map(drop)
    }
}
