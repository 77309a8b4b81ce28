//! `hako cp`: Docker's rules for what a copy is called and where it goes.

mod local;
mod place;

use super::export::to_stdout;
use super::load::send;
use crate::api::{Client, Query, RequestBody, escape};
use crate::error::{Error, Result};
use clap::Args;
use hyper::Method;
use place::{Place, Stat, plan};
use std::io::{IsTerminal, stdin, stdout};
use std::path::Path;

/// Copy files between a container and the local filesystem
#[derive(Debug, Args)]
#[command(override_usage = "hako cp [FLAGS] CONTAINER:PATH PATH|-\n       hako cp [FLAGS] PATH|- CONTAINER:PATH")]
pub(crate) struct Cp {
    /// Archive mode (copy all uid/gid information)
    #[arg(short = 'a', long)]
    archive: bool,
    /// Always follow symbol link in the source
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short = 'q', long)]
    quiet: bool,
    /// What is copied
    source: String,
    /// Where to
    target: String,
}

/// `CONTAINER:PATH`; a local path begins with `/` or `.`, or has no colon.
fn parse(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':').filter(|(container, _)| !container.is_empty())
}

impl Cp {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        match (parse(&self.source), parse(&self.target)) {
            (Some(_), Some(_)) => Err(Error::msg("copying between containers is not supported")),
            (None, None) => Err(Error::msg("must specify at least one container source")),
            (Some((container, path)), None) => self.copy_out(client, container, path).await,
            (None, Some((container, path))) => self.copy_in(client, container, path).await,
        }
    }

    /// From a container.
    async fn copy_out(&self, client: &Client, container: &str, path: &str) -> Result<()> {
        let mut path = path.to_owned();
        if self.follow_link {
            path = stat(client, container, &path).await?.map_or(path.clone(), |stat| stat.followed(&path));
        }
        let query = Query::default().set("path", &path);
        let request = query.on(format!("/containers/{}/archive", escape(container)));
        if self.target == "-" {
            if stdout().is_terminal() {
                return Err(Error::msg("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
            }
            return to_stdout(client.stream(Method::GET, &request, RequestBody::None, &[]).await?).await;
        }
        let source = stat(client, container, &path).await?;
        let source =
            source.ok_or_else(|| Error::msg(format!("Could not find the file {path} in container {container}")))?;
        let plan = plan(&path, source.is_dir(), &self.target, &Place::local(Path::new(&self.target)))?;
        let body = client.stream(Method::GET, &request, RequestBody::None, &[]).await?;
        local::unpack(body, plan).await?;
        self.done(&format!("{container}:{path}"), &self.target);
        Ok(())
    }

    /// Into a container.
    async fn copy_in(&self, client: &Client, container: &str, target: &str) -> Result<()> {
        let mut target = target.to_owned();
        let mut found = stat(client, container, &target).await?;
        if let Some(link) = found.as_ref().filter(|stat| stat.is_link()) {
            target = link.followed(&target);
            found = stat(client, container, &target).await?;
        }
        let (folder, body) = if self.source == "-" {
            if !found.as_ref().is_some_and(Stat::is_dir) {
                return Err(Error::msg(format!("destination \"{container}:{target}\" must be a directory")));
            }
            (target.clone(), send(Box::new(stdin()), None))
        } else {
            let meta = local::source(&self.source, self.follow_link)?;
            let place =
                found.as_ref().map_or(Place::Absent, |stat| if stat.is_dir() { Place::Folder } else { Place::File });
            let plan = plan(&self.source, meta.is_dir(), &target, &place)?;
            (plan.folder.clone(), local::pack(&self.source, self.follow_link, plan))
        };
        let query = Query::default()
            .set("path", &folder)
            .set("noOverwriteDirNonDir", "true")
            .opt("copyUIDGID", self.archive.then_some("true"));
        let request = query.on(format!("/containers/{}/archive", escape(container)));
        // The answer has no body.
        drop(client.stream(Method::PUT, &request, RequestBody::Tar(body), &[]).await?);
        self.done(&self.source, &format!("{container}:{target}"));
        Ok(())
    }

    fn done(&self, from: &str, to: &str) {
        if !self.quiet && std::io::stderr().is_terminal() {
            eprintln!("Successfully copied {from} to {to}");
        }
    }
}

/// What is at `path` in a container, if anything.
async fn stat(client: &Client, container: &str, path: &str) -> Result<Option<Stat>> {
    let query = Query::default().set("path", path);
    let request = query.on(format!("/containers/{}/archive", escape(container)));
    match client.head(&request, "x-docker-container-path-stat").await {
        Ok(header) => header.as_deref().map(Stat::decode).transpose(),
        // Either the container or the path: the request that follows says which.
        Err(err) if err.is_not_found() => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn containers_and_paths() {
        assert_eq!(parse("box:/x:y"), Some(("box", "/x:y")));
        for local in ["/box:x", "./box:x", "box", "-", ":x"] {
            assert_eq!(parse(local), None);
        }
    }
}
