//! `hako build`: Docker's classic build. The context is packed here, so that what
//! `.dockerignore` leaves out never leaves the machine.

mod context;
mod pack;
mod query;
mod secrets;

use crate::api::{Client, RequestBody, registry_config};
use crate::error::{Error, Result, reason};
use crate::format::human_size;
use crate::progress::Progress;
use crate::term::{Target, print, print_line};
use clap::Args;
use context::Context;
use hyper::Method;
use serde_json::Value;
use std::path::PathBuf;

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Name and optionally a tag (format: "name:tag")
    #[arg(short = 't', long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// Name of the Dockerfile (default: "PATH/Dockerfile"); "-" reads it from stdin
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set build-time variables
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret|,env=NAME]")
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Images to consider as cache sources
    #[arg(long, value_name = "IMAGE")]
    cache_from: Vec<String>,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pull: bool,
    /// Set platform if the engine is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Suppress the build output and print image ID on success
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Write the image ID to the file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Remove intermediate containers after a successful build
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    rm: bool,
    /// Always remove intermediate containers
    #[arg(long)]
    force_rm: bool,
    /// Squash newly built layers into a single new layer
    #[arg(long)]
    squash: bool,
    #[command(flatten)]
    steps: query::Steps,
    /// The folder with the files, or "-": a Dockerfile or an archive from stdin
    #[arg(value_name = "PATH|-")]
    path: String,
}

impl Build {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if let Some(file) = &self.iidfile {
            // An old one must not be taken for this build's.
            match std::fs::remove_file(file) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::msg(format!("removing image ID file: {}", reason(&err))));
                }
                _ => {}
            }
        }
        let secrets = secrets::header(&self.secret)?;
        let context = Context::prepare(&self.path, self.file.as_deref())?;
        let path = self.query(&context.dockerfile)?;
        let mut progress = Progress::new(Target::Stdout);
        if let (false, Some(size)) = (self.quiet, context.size) {
            print_line(format_args!("Sending build context to the engine  {}", human_size(size)))?;
        }
        let registries = registry_config();
        let headers: Vec<(&str, &str)> = [("X-Registry-Config", &registries), ("X-Hako-Build-Secrets", &secrets)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
        let (body, failed) = context.send();
        let sent = client.messages(Method::POST, &path, RequestBody::Tar(body), &headers).await;
        // A context that cannot be read is the reason, and not what the engine makes of its end.
        let messages = match (sent, failed.text()) {
            (_, Some(text)) => return Err(Error::msg(text)),
            (sent, None) => sent?,
        };
        self.follow(messages, &mut progress).await
    }

    /// Prints what the engine says, up to the image.
    async fn follow(&self, mut messages: crate::api::Messages, progress: &mut Progress) -> Result<()> {
        let mut image = None;
        let mut said = String::new();
        while let Some(message) = messages.next().await? {
            if let Some(text) = message.get("error").and_then(Value::as_str) {
                let text = message.pointer("/errorDetail/message").and_then(Value::as_str).unwrap_or(text);
                let code = message.pointer("/errorDetail/code").and_then(Value::as_i64).unwrap_or(0);
                eprint!("{said}");
                let code = i32::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1);
                return Err(Error::Exit { code, message: Some(text.to_owned()) });
            }
            if let Some(id) = message.pointer("/aux/ID").and_then(Value::as_str) {
                image = Some(id.to_owned());
            }
            match message.get("stream").and_then(Value::as_str) {
                Some(text) if self.quiet => said.push_str(text),
                _ if self.quiet => {}
                Some(text) => progress.text(text)?,
                None => progress.show(&message)?,
            }
        }
        // With `-q` the engine's only word is the image's id.
        if self.quiet {
            print(&said)?;
        }
        if let Some(file) = &self.iidfile {
            let id = image.or_else(|| self.quiet.then(|| said.trim().to_owned())).filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| {
                Error::msg(format!("server did not provide an image ID; cannot write {}", file.display()))
            })?;
            std::fs::write(file, id).map_err(|err| Error::msg(format!("open {}: {}", file.display(), reason(&err))))?;
        }
        Ok(())
    }
}
