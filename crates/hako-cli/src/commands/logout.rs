//! `hako logout`.

use super::login::registry;
use crate::api::{Client, Config};
use crate::error::Result;
use crate::term::print_line;
use clap::Args;

/// Log out of a registry
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, by default Docker Hub
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Logout {
    /// The engine is not asked: it keeps no credentials.
    pub(crate) async fn run(self, _client: &Client) -> Result<()> {
        let server = registry(self.server.as_deref());
        print_line(format!("Removing login credentials for {server}"))?;
        if !Config::read()?.forget(&server)? {
            eprintln!("Not logged in to {server}");
        }
        Ok(())
    }
}
