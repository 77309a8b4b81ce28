//! `hako system`: the engine's own life, and what it keeps on disk.

use super::events::Events;
use super::info::Info;
use super::prune::{self, confirmed, report};
use super::volume;
use crate::api::{Client, Engine, Query};
use crate::error::{Error, Result};
use crate::flags::filters;
use crate::format::{Table, human_size, print_formatted};
use crate::term::{print, print_line};
use clap::{Args, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Start and stop the engine; its disk use
#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the engine, if it does not run
    Start,
    /// Stop the engine; containers run on
    Stop,
    /// Show what the engine is and can do
    Info(Info),
    /// Follow what happens in the engine
    Events(Events),
    /// Show disk usage
    Df(Df),
    /// Remove stopped containers and images without a name
    Prune(Prune),
}

/// Flags of `system df`.
#[derive(Debug, Args)]
struct Df {
    /// Format output: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Flags of `system prune`.
#[derive(Debug, Args)]
struct Prune {
    #[command(flatten)]
    images: prune::Prune,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

impl System {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match self.command {
            Command::Start => start(client.engine()).await,
            Command::Stop => stop(client.engine()).await,
            Command::Info(info) => info.run(client).await,
            Command::Events(events) => events.run(client).await,
            Command::Df(df) => df.run(client).await,
            Command::Prune(flags) => prune(flags, client).await,
        }
    }
}

async fn start(engine: &Engine) -> Result<()> {
    let address = format!("unix://{}", engine.socket().display());
    if engine.answers() || !engine.start().await? {
        return print_line(format_args!("The engine runs already at {address}"));
    }
    print_line(format_args!("The engine runs at {address}"))
}

/// How long the engine may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

async fn stop(engine: &Engine) -> Result<()> {
    let file = engine.exec_root().join("hakod.pid");
    let pid =
        std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok()).filter(|pid| *pid > 1);
    let Some(pid) = pid.filter(|pid| is_engine(*pid)) else {
        return print_line("The engine does not run");
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .map_err(|errno| Error::msg(format!("cannot stop the engine (process {pid}): {errno}")))?;
    let began = Instant::now();
    while is_engine(pid) {
        if began.elapsed() > STOP_DEADLINE {
            return Err(Error::msg(format!(
                "the engine (process {pid}) has not ended after {} seconds",
                STOP_DEADLINE.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print_line("The engine has stopped")
}

/// Whether process `pid` is an engine that lives: a pid file may be older than
/// what has its number now.
fn is_engine(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((head, tail)) = stat.rsplit_once(')') else { return false };
    head.ends_with("(hakod") && !tail.trim_start().starts_with('Z')
}

impl Df {
    async fn run(self, client: &Client) -> Result<()> {
        let usage = client.get("/system/df").await?;
        if let Some(format) = self.format.as_deref().filter(|format| !format.is_empty()) {
            return print_formatted(format, &usage);
        }
        let kinds = [
            ("Images", "Images", "/Size"),
            ("Containers", "Containers", "/SizeRw"),
            ("Local Volumes", "Volumes", "/UsageData/Size"),
            ("Build Cache", "BuildCache", "/Size"),
        ];
        let mut table = Table::new(["TYPE", "TOTAL", "SIZE"]);
        for (label, key, size) in kinds {
            let items: Vec<&Value> = usage[key].as_array().into_iter().flatten().collect();
            let sum: i64 = items.iter().filter_map(|item| item.pointer(size)?.as_i64()).sum();
            let total = if key == "Images" { usage["LayersSize"].as_i64().unwrap_or(sum) } else { sum };
            table.push([label.to_owned(), items.len().to_string(), human_size(total)]);
        }
        let machines = &usage["VirtualMachines"];
        if let (Some(count), Some(size)) = (machines["Templates"].as_u64(), machines["TemplatesSize"].as_i64()) {
            table.push(["VM Templates".to_owned(), count.to_string(), human_size(size)]);
        }
        print(&table.to_string())
    }
}

async fn prune(flags: Prune, client: &Client) -> Result<()> {
    let Prune { images: flags, volumes } = flags;
    let what = if flags.all { "all images without a container" } else { "all images without a name" };
    let more = if volumes { ", all anonymous volumes without a container" } else { "" };
    let question =
        format!("This removes all stopped containers{more}, {what} and unused build cache. Continue? [y/N] ");
    if !flags.force && !confirmed("system prune", &question)? {
        return Ok(());
    }
    let containers = Query::default().opt("filters", filters(&flags.filter)?.as_deref()).on("/containers/prune");
    let mut reclaimed = report(&client.post(&containers).await?, "ContainersDeleted", "Deleted Containers")?;
    if volumes {
        // Volumes have no times.
        let labels = flags.filter.iter().filter(|filter| !filter.starts_with("until=")).cloned().collect();
        reclaimed += volume::volumes(client, false, labels).await?;
    }
    // Steps of builds have times, and no labels.
    let until: Vec<String> = flags.filter.iter().filter(|filter| filter.starts_with("until=")).cloned().collect();
    let labelled = until.len() < flags.filter.len();
    reclaimed += prune::images(client, flags.all, flags.filter).await?;
    if !labelled {
        let cache = Query::default().flag("all", flags.all).opt("filters", filters(&until)?.as_deref());
        let answer = client.post(&cache.on("/build/prune")).await?;
        reclaimed += report(&answer, "CachesDeleted", "Deleted build cache objects")?;
    }
    print_line(format_args!("Total reclaimed space: {}", human_size(reclaimed)))
}
