//! `hako import`.

use super::load::send;
use crate::api::{Client, Query, RequestBody};
use crate::error::{Error, Result, reason};
use crate::progress::Progress;
use crate::term::Target;
use clap::Args;
use hyper::Method;
use std::fs::File;
use std::io::{self, Read};

/// Make an image of a tar archive of files
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short = 'm', long)]
    message: Option<String>,
    /// The image's platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// A tar archive, or - for STDIN
    #[arg(value_name = "FILE|-")]
    source: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Import {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let address = self.source.starts_with("http://") || self.source.starts_with("https://");
        let mut progress = Progress::new(Target::Stdout);
        let (from, source, bar): (_, Box<dyn Read + Send>, _) = match self.source.as_str() {
            "-" => ("-", Box::new(io::stdin()), None),
            // The engine says what it thinks of addresses.
            url if address => (url, Box::new(io::empty()), None),
            path => {
                let wrong = |err: io::Error| Error::msg(format!("open {path}: {}", reason(&err)));
                let file = File::open(path).map_err(wrong)?;
                let size = file.metadata().map_err(wrong)?.len();
                ("-", Box::new(file), progress.upload(size, path))
            }
        };
        let mut query = Query::default().set("fromSrc", from);
        if let Some(name) = &self.name {
            query = query.set("repo", name);
        }
        query = query.opt("message", self.message.as_deref()).opt("platform", self.platform.as_deref());
        for change in &self.change {
            query = query.set("changes", change);
        }
        let path = query.on("/images/create");
        let messages = client.messages(Method::POST, &path, RequestBody::Tar(send(source, bar)), &[]).await?;
        progress.follow(messages, false).await
    }
}
