//! `hako network connect` and `disconnect`.

use crate::api::{Client, escape};
use crate::error::Result;
use crate::flags::{Endpoint, endpoint};
use clap::Args;
use serde_json::json;

/// Flags of `network connect`.
#[derive(Debug, Args)]
pub(super) struct Connect {
    /// IPv4 address (e.g. "172.30.100.104")
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address (e.g. "2001:db8::33")
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "IP")]
    link_local_ip: Vec<String>,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// The network
    network: String,
    /// The container
    container: String,
}

/// Flags of `network disconnect`.
#[derive(Debug, Args)]
pub(super) struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short = 'f', long)]
    force: bool,
    /// The network
    network: String,
    /// The container
    container: String,
}

impl Connect {
    pub(super) async fn run(self, client: &Client) -> Result<()> {
        let asked = Endpoint {
            ip: self.ip,
            ip6: self.ip6,
            link_local: self.link_local_ip,
            links: self.link,
            aliases: self.alias,
            driver_opts: self.driver_opt,
            gw_priority: self.gw_priority,
            mac: None,
        };
        let body = json!({"Container": self.container, "EndpointConfig": endpoint(&asked)});
        client.post_json(&format!("/networks/{}/connect", escape(&self.network)), body).await.map(drop)
    }
}

impl Disconnect {
    pub(super) async fn run(self, client: &Client) -> Result<()> {
        let body = json!({"Container": self.container, "Force": self.force});
        client.post_json(&format!("/networks/{}/disconnect", escape(&self.network)), body).await.map(drop)
    }
}
