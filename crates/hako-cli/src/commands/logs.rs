//! `hako logs`.

use crate::api::{Client, Query, RequestBody, escape};
use crate::error::{Error, Result};
use crate::format::timestamp;
use crate::session::write_output;
use crate::term::{Demux, Output};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

/// Show the output of a container
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short = 'f', long)]
    follow: bool,
    /// Show logs since timestamp (2013-01-02T13:23:37Z) or relative (42m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show logs before a timestamp or relative (42m)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short = 't', long)]
    timestamps: bool,
    /// The container
    container: String,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let time = |text: &Option<String>| text.as_deref().map(timestamp).transpose();
        let query = Query::default()
            .set("stdout", "1")
            .set("stderr", "1")
            .flag("follow", self.follow)
            .flag("timestamps", self.timestamps)
            .flag("details", self.details)
            .opt("since", time(&self.since)?.as_deref())
            .opt("until", time(&self.until)?.as_deref())
            .set("tail", &self.tail);
        let container = escape(&self.container);
        let details = client.get(&format!("/containers/{container}/json")).await?;
        let tty = details.pointer("/Config/Tty").and_then(Value::as_bool).unwrap_or(false);
        let path = query.on(format!("/containers/{container}/logs"));
        let mut body = client.stream(Method::GET, &path, RequestBody::None, &[]).await?;
        let (mut demux, mut output) = (Demux::default(), Output::default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                write_output(&mut demux, tty, data, &mut output).await?;
            }
            if output.broken() {
                break;
            }
        }
        if output.finish().await { Ok(()) } else { Err(Error::exit(141)) }
    }
}
