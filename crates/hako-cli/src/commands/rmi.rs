//! `hako rmi`.

use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use crate::term::print_line;
use clap::Args;
use serde_json::Value;

/// Remove images
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Force removal of the image
    #[arg(short = 'f', long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let mut failed = false;
        // One after the other: the removal of a name decides what the next one finds.
        for image in &self.images {
            let query = Query::default().flag("force", self.force).flag("noprune", self.no_prune);
            match client.delete(&query.on(format!("/images/{}", escape(image)))).await {
                Ok(answer) => show(&answer)?,
                Err(err) => {
                    eprintln!("hako: {err}");
                    failed |= !(self.force && err.is_not_found());
                }
            }
        }
        if failed { Err(Error::exit(1)) } else { Ok(()) }
    }
}

fn show(answer: &Value) -> Result<()> {
    for item in answer.as_array().into_iter().flatten() {
        for what in ["Deleted", "Untagged"] {
            if let Some(name) = item.get(what).and_then(Value::as_str).filter(|name| !name.is_empty()) {
                print_line(format_args!("{what}: {name}"))?;
            }
        }
    }
    Ok(())
}
