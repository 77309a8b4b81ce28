//! `hako version`.

use crate::api::Client;
use crate::error::Result;
use crate::format::print_formatted;
use crate::term::print;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write;

/// Show the versions of client and engine
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Format output: json, or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let own = json!({
            "Version": env!("CARGO_PKG_VERSION"), "Os": std::env::consts::OS, "Arch": std::env::consts::ARCH,
            "Host": client.host().to_string(),
        });
        let server = client.get("/version").await;
        if let Some(format) = self.format.as_deref().filter(|format| !format.is_empty()) {
            print_formatted(format, &json!({"Client": own, "Server": server.as_ref().unwrap_or(&Value::Null)}))?;
        } else {
            print(&client_text(&own))?;
            if let Ok(server) = &server {
                print(&server_text(server))?;
            }
        }
        server.map(drop)
    }
}

fn client_text(own: &Value) -> String {
    let text = |key: &str| own[key].as_str().unwrap_or_default();
    let mut out = String::from("Client: Hako\n");
    let _ = writeln!(out, " Version:           {}", text("Version"));
    let _ = writeln!(out, " OS/Arch:           {}/{}", text("Os"), text("Arch"));
    let _ = writeln!(out, " Engine:            {}", text("Host"));
    out
}

fn server_text(server: &Value) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut out = format!("\nServer: {}\n", text(&server["Platform"], "Name")).replace(": \n", ":\n");
    for component in server["Components"].as_array().into_iter().flatten() {
        let _ = writeln!(out, " {}:", text(component, "Name"));
        let _ = writeln!(out, "  {:<18}{}", "Version:", text(component, "Version"));
        let details = component["Details"].as_object().into_iter().flatten();
        // What the lines below say is not said twice.
        let told = |key: &str| matches!(key, "Os" | "Arch" | "ApiVersion" | "MinAPIVersion" | "KernelVersion");
        for (key, value) in details.filter(|(key, value)| !told(key) && value.as_str().is_some_and(|v| !v.is_empty())) {
            let _ = writeln!(out, "  {:<18}{}", format!("{key}:"), value.as_str().unwrap_or_default());
        }
    }
    let _ = writeln!(
        out,
        " API version:       {} (minimum version {})",
        text(server, "ApiVersion"),
        text(server, "MinAPIVersion")
    );
    let _ = writeln!(out, " OS/Arch:           {}/{}", text(server, "Os"), text(server, "Arch"));
    let _ = writeln!(out, " Kernel:            {}", text(server, "KernelVersion"));
    out
}
