//! `hako push`.

use super::pull::{strip_tag, with_tag};
use crate::api::{Client, Query, RequestBody, escape, registry_auth};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::term::{Target, print_line};
use clap::Args;
use hyper::Method;
use serde_json::json;

/// Upload an image to a registry
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push all tags of the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Push this platform's image alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// NAME[:TAG]
    #[arg(value_name = "NAME[:TAG]")]
    image: String,
}

impl Push {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.image.contains('@') {
            return Err(Error::msg("cannot push a digest reference"));
        }
        let name = strip_tag(&self.image);
        if self.all_tags && name != self.image {
            return Err(Error::msg("tag can't be used with --all-tags/-a"));
        }
        if !self.all_tags && !self.quiet && name == self.image {
            print_line("Using default tag: latest")?;
        }
        let image = with_tag(&self.image);
        let tag = if self.all_tags { None } else { Some(&image[name.len() + 1..]) };
        if tag == Some("") {
            return Err(Error::msg("invalid reference format"));
        }
        let platform = self.platform.as_deref().map(platform).transpose()?;
        let path = Query::default().opt("tag", tag).opt("platform", platform.as_deref());
        let path = path.on(format!("/images/{}/push", escape(name)));
        // The engine wants one, also of nobody.
        let auth = registry_auth(&self.image)?.unwrap_or_else(|| "e30=".to_owned());
        let headers = [("X-Registry-Auth", auth.as_str())];
        let messages = client.messages(Method::POST, &path, RequestBody::None, &headers).await?;
        Progress::new(Target::Stdout).follow(messages, self.quiet).await?;
        if self.quiet {
            print_line(super::pull::full_name(&image))?;
        }
        Ok(())
    }
}

/// OCI's object, as the API has it.
fn platform(text: &str) -> Result<String> {
    let mut parts = text.split('/');
    let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
    match (os, architecture, parts.next()) {
        (Some(os), Some(architecture), None) => Ok(match variant {
            None => json!({ "os": os, "architecture": architecture }),
            Some(variant) => json!({ "os": os, "architecture": architecture, "variant": variant }),
        }
        .to_string()),
        _ => Err(Error::msg(format!("{text:?} is no platform: OS/ARCH[/VARIANT]"))),
    }
}
