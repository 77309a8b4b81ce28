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
        let image = with_tag(&self.image);
        let (name, tag) = parts(&self.image, &image, self.all_tags)?;
        if tag.is_some() && !self.quiet && name == self.image {
            print_line("Using default tag: latest")?;
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

/// The name without its tag, and the tag that is pushed: none for all. `image`
/// is `typed` with a tag.
fn parts<'a>(typed: &'a str, image: &'a str, all_tags: bool) -> Result<(&'a str, Option<&'a str>)> {
    if typed.contains('@') {
        return Err(Error::msg("cannot push a digest reference"));
    }
    let name = strip_tag(typed);
    if all_tags {
        let plain = name == typed;
        return plain.then_some((name, None)).ok_or_else(|| Error::msg("tag can't be used with --all-tags/-a"));
    }
    match image.get(name.len() + 1..) {
        Some("") | None => Err(Error::msg("invalid reference format")),
        tag => Ok((name, tag)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed() {
        let of = |typed: &str, all: bool| {
            let image = with_tag(typed);
            parts(typed, &image, all).map(|(name, tag)| format!("{name} {tag:?}")).map_err(|err| err.to_string())
        };
        for (typed, all, expected) in [
            ("x", false, Ok("x Some(\"latest\")")),
            ("x:1", false, Ok("x Some(\"1\")")),
            ("host:5000/x", false, Ok("host:5000/x Some(\"latest\")")),
            ("host:5000/x:1", false, Ok("host:5000/x Some(\"1\")")),
            ("host:5000/x", true, Ok("host:5000/x None")),
            ("x:", false, Err("invalid reference format")),
            ("host:5000/x:", false, Err("invalid reference format")),
            ("x:1", true, Err("tag can't be used with --all-tags/-a")),
            ("x:", true, Err("tag can't be used with --all-tags/-a")),
            ("x@sha256:00", false, Err("cannot push a digest reference")),
        ] {
            assert_eq!(of(typed, all), expected.map(str::to_owned).map_err(str::to_owned), "{typed}");
        }
    }
}
