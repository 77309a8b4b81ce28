//! `hako info`.

use crate::api::Client;
use crate::error::Result;
use crate::format::{human_bytes, print_formatted};
use crate::term::print;
use clap::Args;
use serde_json::Value;
use std::fmt::Write;

/// Show what the engine is and can do
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Format output: json, or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let info = client.get("/info").await?;
        if let Some(format) = self.format.as_deref().filter(|format| !format.is_empty()) {
            return print_formatted(format, &info);
        }
        print(&text(&info))?;
        for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("{warning}");
        }
        Ok(())
    }
}

/// The lines that Docker's client shows, each with the key that it comes from.
const LINES: &[(&str, &str)] = &[
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Isolation", "Isolation"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Debug Mode", "Debug"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
];

fn text(info: &Value) -> String {
    let number = |key: &str| info[key].as_i64().unwrap_or(0);
    let mut out = format!("Client: Hako\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, " Containers: {}", number("Containers"));
    for (label, key) in
        [("Running", "ContainersRunning"), ("Paused", "ContainersPaused"), ("Stopped", "ContainersStopped")]
    {
        let _ = writeln!(out, "  {label}: {}", number(key));
    }
    let _ = writeln!(out, " Images: {}", number("Images"));
    for (label, key) in LINES {
        if let Some(value) = scalar(&info[*key]) {
            let _ = writeln!(out, " {label}: {value}");
        }
        if *key == "Driver" {
            for pair in info["DriverStatus"].as_array().into_iter().flatten() {
                let _ = writeln!(
                    out,
                    "  {}: {}",
                    pair[0].as_str().unwrap_or_default(),
                    pair[1].as_str().unwrap_or_default()
                );
            }
        }
        if *key == "NCPU" {
            let _ = writeln!(out, " Total Memory: {}", human_bytes(number("MemTotal")));
        }
    }
    let list = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let runtimes: Vec<String> =
        info["Runtimes"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for (label, items) in [
        ("Runtimes", runtimes),
        ("Security Options", list(&info["SecurityOptions"])),
        ("Labels", list(&info["Labels"])),
    ] {
        if !items.is_empty() {
            let _ = writeln!(out, " {label}: {}", items.join(" "));
        }
    }
    out
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        _ => None,
    }
}
