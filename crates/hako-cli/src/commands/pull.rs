//! `hako pull`.

use crate::api::{Client, Query, RequestBody, registry_auth};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::term::{Target, print_line};
use clap::Args;
use hyper::Method;

/// Download an image from a registry
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Download all tagged images in the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Set platform if the engine is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// NAME[:TAG|@DIGEST]
    image: String,
}

impl Pull {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let bare = self.image == strip_tag(&self.image);
        if self.all_tags && !bare {
            return Err(Error::msg("tag can't be used with --all-tags/-a"));
        }
        if !self.all_tags && !self.quiet && bare {
            print_line("Using default tag: latest")?;
        }
        let tag = if self.all_tags { Some("") } else { None };
        fetch(client, &self.image, tag, self.platform.as_deref(), self.quiet, Target::Stdout).await?;
        let shown = full_name(&self.image);
        print_line(if self.all_tags { strip_tag(&shown) } else { &shown })
    }
}

/// Pulls `image`, with progress on `target` unless `quiet`.
pub(super) async fn pull(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
    target: Target,
) -> Result<()> {
    fetch(client, image, None, platform, quiet, target).await
}

/// The same with a tag of its own, of which the empty one stands for all.
async fn fetch(
    client: &Client,
    image: &str,
    tag: Option<&str>,
    platform: Option<&str>,
    quiet: bool,
    target: Target,
) -> Result<()> {
    let name = strip_tag(image);
    let own = image[name.len()..].trim_start_matches(['@', ':']);
    let tag = tag.unwrap_or(if own.is_empty() { "latest" } else { own });
    let path = Query::default().set("fromImage", name).set("tag", tag).opt("platform", platform).on("/images/create");
    let auth = registry_auth(image)?;
    let headers: Vec<(&str, &str)> = auth.iter().map(|auth| ("X-Registry-Auth", auth.as_str())).collect();
    let messages = client.messages(Method::POST, &path, RequestBody::None, &headers).await?;
    Progress::new(target).follow(messages, quiet).await
}

/// The reference without its tag or digest.
pub(super) fn strip_tag(image: &str) -> &str {
    if let Some((name, _)) = image.split_once('@') {
        return name;
    }
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    image[last..].find(':').map_or(image, |colon| &image[..last + colon])
}

/// The reference with `:latest` where it has neither tag nor digest.
pub(super) fn with_tag(image: &str) -> String {
    if image == strip_tag(image) { format!("{image}:latest") } else { image.to_owned() }
}

/// The reference with its registry, as Docker prints it after a pull.
pub(super) fn full_name(image: &str) -> String {
    let image = with_tag(image);
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image,
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(strip_tag("r:5000/a/b:1"), "r:5000/a/b");
        assert_eq!(strip_tag("r:5000/a"), "r:5000/a");
        assert_eq!(strip_tag("a@sha256:00"), "a");
        assert_eq!(with_tag("busybox"), "busybox:latest");
        assert_eq!(full_name("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full_name("me/app:2"), "docker.io/me/app:2");
        assert_eq!(full_name("localhost:5000/app"), "localhost:5000/app:latest");
    }
}
