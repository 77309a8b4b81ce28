//! `hako stats`: what containers use, and behind the hyperv wall what their
//! virtual machine costs beside it.

use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use crate::format::{Column, Listing, Row, human_bytes, human_size, short_id};
use crate::term::print;
use clap::Args;
use futures::future::join_all;
use serde_json::Value;
use std::io::{IsTerminal, stdout};

/// Show what containers use, again and again
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    all: bool,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show one reading and end
    #[arg(long)]
    no_stream: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// The containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", head: "CONTAINER ID" },
    Column { field: "Name", head: "NAME" },
    Column { field: "CPUPerc", head: "CPU %" },
    Column { field: "MemUsage", head: "MEM USAGE / LIMIT" },
    Column { field: "MemPerc", head: "MEM %" },
    Column { field: "BlockIO", head: "BLOCK I/O" },
    Column { field: "PIDs", head: "PIDS" },
    Column { field: "VMMem", head: "VM MEM" },
    Column { field: "Container", head: "CONTAINER" },
];

const TABLE: &[&str] = &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "BlockIO", "PIDs", "VMMem"];

/// Clears the terminal and goes to its upper left.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Stats {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        loop {
            // One reading takes a second: the engine compares two.
            let rows = self.rows(client).await?;
            if !self.no_stream && stdout().is_terminal() {
                print(CLEAR)?;
            }
            Listing { columns: COLUMNS, default: TABLE, format: self.format.as_deref(), quiet: None }.show(&rows)?;
            if self.no_stream {
                return Ok(());
            }
            if rows.is_empty() {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }

    async fn rows(&self, client: &Client) -> Result<Vec<Row>> {
        let named = !self.containers.is_empty();
        let names = if named { self.containers.clone() } else { self.running(client).await? };
        let readings = join_all(names.iter().map(|name| async move {
            let path = Query::default().set("stream", "0").on(format!("/containers/{}/stats", escape(name)));
            (name, client.get(&path).await)
        }));
        let mut rows = Vec::new();
        for (name, reading) in readings.await {
            match reading {
                Ok(reading) => rows.push(row(name, &reading, self.no_trunc)),
                // It was removed since it was listed.
                Err(err) if !named && err.is_not_found() => {}
                Err(err) => return Err(err),
            }
        }
        Ok(rows)
    }

    async fn running(&self, client: &Client) -> Result<Vec<String>> {
        let answer = client.get(&Query::default().flag("all", self.all).on("/containers/json")).await?;
        let id = |item: &Value| item["Id"].as_str().map(str::to_owned);
        let ids: Option<Vec<String>> = answer.as_array().into_iter().flatten().map(id).collect();
        ids.ok_or_else(|| Error::msg("the engine's answer has a container without an id"))
    }
}

fn row(name: &str, reading: &Value, full: bool) -> Row {
    let text = |key: &str| reading[key].as_str().unwrap_or_default();
    let number = |path: &str| reading.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let elapsed = number("/cpu_stats/system_cpu_usage") - number("/precpu_stats/system_cpu_usage");
    let cpus = number("/cpu_stats/online_cpus").max(1);
    let used = number("/cpu_stats/cpu_usage/total_usage") - number("/precpu_stats/cpu_usage/total_usage");
    let (usage, limit) = (memory(reading), number("/memory_stats/limit"));
    let (read, written) = block_io(reading);
    let vm = reading.get("vm_stats").filter(|vm| vm.is_object());
    let fields: [(&str, Value); 9] = [
        ("ID", if full { text("id") } else { short_id(text("id")) }.into()),
        ("Name", text("name").trim_start_matches('/').into()),
        ("CPUPerc", percent(used, elapsed, cpus).into()),
        ("MemUsage", format!("{} / {}", human_bytes(usage), human_bytes(limit)).into()),
        ("MemPerc", percent(usage, limit, 1).into()),
        ("BlockIO", format!("{} / {}", human_size(read), human_size(written)).into()),
        ("PIDs", number("/pids_stats/current").to_string().into()),
        ("VMMem", vm.map_or("--".to_owned(), |_| human_bytes(number("/vm_stats/memory_resident"))).into()),
        ("Container", name.into()),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What is used without what could be dropped at once, as Docker's client counts.
fn memory(reading: &Value) -> i64 {
    let usage = reading.pointer("/memory_stats/usage").and_then(Value::as_i64).unwrap_or(0);
    let stats = &reading["memory_stats"]["stats"];
    let inactive = stats["total_inactive_file"].as_i64().or_else(|| stats["inactive_file"].as_i64()).unwrap_or(0);
    if inactive < usage { usage - inactive } else { usage }
}

fn block_io(reading: &Value) -> (i64, i64) {
    let entries = reading.pointer("/blkio_stats/io_service_bytes_recursive").and_then(Value::as_array);
    let sum = |op: &str| {
        let of_op = |entry: &&Value| entry["op"].as_str().is_some_and(|word| word.eq_ignore_ascii_case(op));
        entries.into_iter().flatten().filter(of_op).filter_map(|entry| entry["value"].as_i64()).sum()
    };
    (sum("read"), sum("write"))
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: i64, whole: i64, times: i64) -> String {
    let share = if whole > 0 && part > 0 { part as f64 / whole as f64 * times as f64 * 100.0 } else { 0.0 };
    format!("{share:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_dockers() {
        let reading = json!({
            "id": "0123456789abcdef", "name": "/box",
            "cpu_stats": {"cpu_usage": {"total_usage": 3_000}, "system_cpu_usage": 10_000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 6_000, "online_cpus": 2},
            "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"inactive_file": 1 << 20}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 1000}, {"op": "write", "value": 2000}]},
            "pids_stats": {"current": 4},
        });
        let row = row("box", &reading, false);
        assert_eq!(row["CPUPerc"], "100.00%");
        assert_eq!(row["MemUsage"], "2MiB / 8MiB");
        assert_eq!(row["MemPerc"], "25.00%");
        assert_eq!(row["BlockIO"], "1kB / 2kB");
        assert_eq!((&row["PIDs"], &row["VMMem"]), (&json!("4"), &json!("--")));
    }
}
