//! `hako rm`.

use super::many::for_each;
use crate::api::{Client, Query, escape};
use crate::error::Result;
use clap::Args;

/// Remove containers
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short = 'f', long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short = 'v', long)]
    volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        for_each(&self.containers, |name| async move {
            let query = Query::default().flag("force", self.force).flag("v", self.volumes);
            match client.delete(&query.on(format!("/containers/{}", escape(name.trim_start_matches('/'))))).await {
                Ok(_) => Ok(name.to_owned()),
                // What is gone already is as `--force` wants it.
                Err(err) if self.force && err.is_not_found() => {
                    eprintln!("hako: {err}");
                    Ok(String::new())
                }
                Err(err) => Err(err),
            }
        })
        .await
    }
}
