//! `hako save`.

use super::export::{to_file, to_stdout};
use crate::api::{Client, Query, RequestBody};
use crate::error::{Error, Result};
use clap::Args;
use hyper::Method;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// Save images to a tar archive
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Save only the given platform variant
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.output.is_none() && io::stdout().is_terminal() {
            return Err(Error::msg("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
        }
        let query = self.images.iter().fold(Query::default(), |query, image| query.set("names", image));
        let path = query.opt("platform", self.platform.as_deref()).on("/images/get");
        let body = client.stream(Method::GET, &path, RequestBody::None, &[]).await?;
        match &self.output {
            Some(file) => to_file(body, file).await,
            None => to_stdout(body).await,
        }
    }
}
