//! `hako ps`: Docker's columns and the wall.

use crate::api::{Client, Query};
use crate::error::Result;
use crate::flags::filters;
use crate::format::{Column, Listing, Row, ellipsis, human_duration, human_size, local_stamp, short_id, since_now};
use clap::Args;
use serde_json::{Value, json};

/// List containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short = 'l', long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short = 's', long)]
    size: bool,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", head: "CONTAINER ID" },
    Column { field: "Image", head: "IMAGE" },
    Column { field: "Command", head: "COMMAND" },
    Column { field: "RunningFor", head: "CREATED" },
    Column { field: "Status", head: "STATUS" },
    Column { field: "Isolation", head: "ISOLATION" },
    Column { field: "Ports", head: "PORTS" },
    Column { field: "Names", head: "NAMES" },
    Column { field: "Size", head: "SIZE" },
    Column { field: "CreatedAt", head: "CREATED AT" },
    Column { field: "State", head: "STATE" },
    Column { field: "Labels", head: "LABELS" },
    Column { field: "Mounts", head: "MOUNTS" },
    Column { field: "LocalVolumes", head: "LOCAL VOLUMES" },
    Column { field: "Networks", head: "NETWORKS" },
    Column { field: "Platform", head: "PLATFORM" },
];

const TABLE: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Isolation", "Ports", "Names", "Size"];

impl Ps {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let last = if self.latest { Some(1) } else { self.last.filter(|&last| last > 0) }.map(|last| last.to_string());
        let size = self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size"));
        let query = Query::default()
            .flag("all", self.all || last.is_some())
            .flag("size", size)
            .opt("limit", last.as_deref())
            .opt("filters", filters(&self.filter)?.as_deref());
        let answer = client.get(&query.on("/containers/json")).await?;
        let rows: Vec<Row> = answer.as_array().into_iter().flatten().map(|item| row(item, self.no_trunc)).collect();
        let shown = if self.size { TABLE } else { &TABLE[..TABLE.len() - 1] };
        let quiet = self.quiet.then_some("ID");
        Listing { columns: COLUMNS, default: shown, format: self.format.as_deref(), quiet }.show(&rows)
    }
}

fn row(item: &Value, full: bool) -> Row {
    let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
    let created = item.get("Created").and_then(Value::as_i64).unwrap_or(0);
    let command = if full { text("Command").to_owned() } else { ellipsis(text("Command"), 20) };
    let mounts: Vec<&Value> = item.get("Mounts").and_then(Value::as_array).into_iter().flatten().collect();
    let fields = [
        ("ID", if full { text("Id") } else { short_id(text("Id")) }.into()),
        ("Image", image(text("Image"), full).into()),
        ("Command", json!(command).to_string().into()),
        ("RunningFor", format!("{} ago", human_duration(since_now(created))).into()),
        ("Status", text("Status").into()),
        ("Isolation", item.pointer("/HostConfig/Isolation").and_then(Value::as_str).unwrap_or_default().into()),
        ("Ports", ports(&item["Ports"]).into()),
        ("Names", names(&item["Names"]).into()),
        ("Size", size(item).into()),
        ("CreatedAt", local_stamp(created).into()),
        ("State", text("State").into()),
        ("Labels", labels(&item["Labels"]).into()),
        ("\0Labels", item["Labels"].clone()),
        ("Mounts", mount_names(&mounts, full).into()),
        ("LocalVolumes", mounts.iter().filter(|mount| mount["Driver"] == "local").count().to_string().into()),
        ("Networks", keys(item.pointer("/NetworkSettings/Networks")).into()),
        ("Platform", text("Platform").into()),
    ];
    fields.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()
}

/// `sha256:…` is shown short; a name as it is.
fn image(name: &str, full: bool) -> &str {
    match name {
        "" => "<no image>",
        id if !full && id.starts_with("sha256:") => short_id(id),
        name if !full => name.split_once('@').map_or(name, |(name, _)| name),
        name => name,
    }
}

fn names(names: &Value) -> String {
    let names =
        names.as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| name.trim_start_matches('/'));
    // A name with a slash is a link's, which belongs to another container.
    names.filter(|name| !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn size(item: &Value) -> String {
    let number = |key: &str| item.get(key).and_then(Value::as_i64).unwrap_or(0);
    let own = human_size(number("SizeRw"));
    match number("SizeRootFs") {
        0 => own,
        all => format!("{own} (virtual {})", human_size(all)),
    }
}

pub(super) fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn mount_names(mounts: &[&Value], full: bool) -> String {
    let text = |mount: &Value, key: &str| mount[key].as_str().unwrap_or_default().to_owned();
    let name = |mount: &Value| if text(mount, "Name").is_empty() { text(mount, "Source") } else { text(mount, "Name") };
    mounts.iter().map(|mount| if full { name(mount) } else { ellipsis(&name(mount), 15) }).collect::<Vec<_>>().join(",")
}

fn keys(map: Option<&Value>) -> String {
    let mut keys: Vec<&str> =
        map.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.join(",")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`, in the order of the ports.
fn ports(ports: &Value) -> String {
    let mut all: Vec<(u64, u64, String)> = Vec::new();
    for port in ports.as_array().into_iter().flatten() {
        let inside = port["PrivatePort"].as_u64().unwrap_or(0);
        let outside = port["PublicPort"].as_u64().unwrap_or(0);
        let proto = port["Type"].as_str().unwrap_or("tcp");
        let text = match (port["IP"].as_str().filter(|ip| !ip.is_empty()), outside) {
            (Some(ip), 1..) if ip.contains(':') => format!("[{ip}]:{outside}->{inside}/{proto}"),
            (Some(ip), 1..) => format!("{ip}:{outside}->{inside}/{proto}"),
            _ => format!("{inside}/{proto}"),
        };
        all.push((inside, outside, text));
    }
    all.sort();
    all.into_iter().map(|(.., text)| text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_dockers() {
        let item = json!({
            "Id": "0123456789abcdef", "Image": "busybox", "Command": "sh -c 'sleep 1000000'", "Created": 0, "Status": "Up",
            "Names": ["/a", "/b/a"], "Labels": {"x": "1", "y": "2"}, "HostConfig": {"Isolation": "hyperv"},
            "Ports": [{"PrivatePort": 443, "Type": "tcp"}, {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
        });
        let row = row(&item, false);
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(row["Command"], "\"sh -c 'sleep 100000…\"");
        assert_eq!(row["Names"], "a");
        assert_eq!(row["Labels"], "x=1,y=2");
        assert_eq!(row["Isolation"], "hyperv");
        assert_eq!(row["Ports"], "0.0.0.0:8080->80/tcp, 443/tcp");
    }
}
