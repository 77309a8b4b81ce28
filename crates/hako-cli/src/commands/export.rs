//! `hako export`.

use crate::api::{Client, RequestBody, escape};
use crate::error::{Error, Result, reason};
use crate::term::{Output, Target};
use clap::Args;
use http_body_util::BodyExt;
use hyper::{Method, body::Incoming};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Export a container's root filesystem as a tar archive
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container
    container: String,
}

impl Export {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.output.is_none() && io::stdout().is_terminal() {
            return Err(Error::msg("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
        }
        let path = format!("/containers/{}/export", escape(&self.container));
        let body = client.stream(Method::GET, &path, RequestBody::None, &[]).await?;
        match &self.output {
            Some(file) => to_file(body, file).await,
            None => to_stdout(body).await,
        }
    }
}

/// Writes beside the file first, so that an export that breaks off leaves none.
pub(super) async fn to_file(mut body: Incoming, path: &Path) -> Result<()> {
    let wrong = |err: &io::Error| Error::msg(format!("write {}: {}", path.display(), reason(err)));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let part = path.with_file_name(name);
    let written = async {
        let mut file = File::create(&part).map_err(|err| wrong(&err))?;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                file.write_all(&data).map_err(|err| wrong(&err))?;
            }
        }
        std::fs::rename(&part, path).map_err(|err| wrong(&err))
    };
    let written = written.await;
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Passes an archive on.
pub(super) async fn to_stdout(mut body: Incoming) -> Result<()> {
    let mut output = Output::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            output.write(Target::Stdout, data).await;
        }
        if output.broken() {
            break;
        }
    }
    if output.finish().await { Ok(()) } else { Err(Error::exit(141)) }
}
