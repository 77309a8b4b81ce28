//! `hako create`, and the making of a container that `run` shares.

use super::pull;
use crate::api::{Client, Query};
use crate::error::{Error, Result, reason};
use crate::flags::ContainerFlags;
use crate::term::{Target, print_line};
use clap::Args;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

/// Create a new container
#[derive(Debug, Args)]
#[command(override_usage = "hako create [FLAGS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Create {
    #[command(flatten)]
    flags: ContainerFlags,
}

impl Create {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let made = async {
            // A created container is attached when it is started.
            let (body, _) = crate::flags::create_body(&self.flags, false)?;
            create(client, &self.flags, body).await
        };
        let id = made.await.map_err(|err| err.with_code(1))?;
        print_line(id)
    }
}

/// Creates the container, with the image pulled as `--pull` says; gives its id.
pub(super) async fn create(client: &Client, flags: &ContainerFlags, body: Value) -> Result<String> {
    let cidfile = flags.cidfile.as_deref().map(CidFile::open).transpose()?;
    let image = flags.words.first().map(String::as_str).unwrap_or_default();
    if flags.pull == "always" {
        pull_to_stderr(client, flags, image).await?;
    }
    let path = Query::default()
        .opt("name", flags.name.as_deref())
        .opt("platform", flags.platform.as_deref())
        .on("/containers/create");
    let answer = match client.post_json(&path, body.clone()).await {
        Err(err) if flags.pull == "missing" && lacks_image(&err) => {
            if !flags.quiet {
                eprintln!("Unable to find image '{}' locally", pull::with_tag(image));
            }
            pull_to_stderr(client, flags, image).await?;
            client.post_json(&path, body).await?
        }
        other => other?,
    };
    for warning in answer.get("Warnings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("WARNING: {warning}");
    }
    let id = answer
        .get("Id")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::msg("the engine's answer has no container id"))?;
    if let Some(cidfile) = cidfile {
        cidfile.keep(id)?;
    }
    Ok(id.to_owned())
}

fn lacks_image(err: &Error) -> bool {
    err.is_not_found() && err.to_string().to_ascii_lowercase().contains("no such image")
}

async fn pull_to_stderr(client: &Client, flags: &ContainerFlags, image: &str) -> Result<()> {
    pull::pull(client, image, flags.platform.as_deref(), flags.quiet, Target::Stderr).await
}

/// `--cidfile`: made before the container, so that two never share one; removed
/// again if no container comes of it.
struct CidFile<'a> {
    path: &'a Path,
    file: std::fs::File,
    kept: bool,
}

impl<'a> CidFile<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file =
            std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|err| match err.kind() {
                std::io::ErrorKind::AlreadyExists => Error::msg(format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                )),
                _ => {
                    Error::msg(format!("failed to create the container ID file: {}: {}", path.display(), reason(&err)))
                }
            })?;
        Ok(Self { path, file, kept: false })
    }

    fn keep(mut self, id: &str) -> Result<()> {
        self.file.write_all(id.as_bytes())?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for CidFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
