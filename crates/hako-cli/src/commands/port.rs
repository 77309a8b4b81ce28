//! `hako port`.

use crate::api::{Client, escape};
use crate::error::{Error, Result};
use crate::term::print_line;
use clap::Args;
use serde_json::Value;

/// List port mappings, or the one of a port
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// The container
    container: String,
    /// One of its ports
    #[arg(value_name = "PORT[/PROTO]")]
    port: Option<String>,
}

impl Port {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let container = client.get(&format!("/containers/{}/json", escape(&self.container))).await?;
        let ports = container.pointer("/NetworkSettings/Ports").and_then(Value::as_object);
        let Some(wanted) = &self.port else {
            let mut all: Vec<(&String, &Value)> = ports.into_iter().flatten().collect();
            all.sort_by_key(|(port, _)| (number(port), port.as_str()));
            for (port, bindings) in all {
                for address in addresses(bindings) {
                    print_line(format_args!("{port} -> {address}"))?;
                }
            }
            return Ok(());
        };
        let port = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
        let found = ports.and_then(|ports| ports.get(&port)).filter(|bindings| bindings.is_array());
        let none = || Error::msg(format!("no public port '{port}' published for {}", self.container));
        for address in addresses(found.ok_or_else(none)?) {
            print_line(address)?;
        }
        Ok(())
    }
}

fn number(port: &str) -> u16 {
    port.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `0.0.0.0:8080`, `[::]:8080`.
fn addresses(bindings: &Value) -> Vec<String> {
    let text = |binding: &Value, key: &str| binding[key].as_str().unwrap_or_default().to_owned();
    let one = |binding: &Value| {
        let (ip, port) = (text(binding, "HostIp"), text(binding, "HostPort"));
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    bindings.as_array().into_iter().flatten().map(one).collect()
}
