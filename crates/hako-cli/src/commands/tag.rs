//! `hako tag`.

use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use clap::Args;

/// Give an image another name
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// Its other name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Tag {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        if self.target.contains('@') {
            return Err(Error::msg("refusing to create a tag with a digest reference"));
        }
        let slash = self.target.rfind('/').map_or(0, |slash| slash + 1);
        let (repo, tag) = match self.target[slash..].find(':') {
            Some(colon) => (&self.target[..slash + colon], &self.target[slash + colon + 1..]),
            None => (self.target.as_str(), "latest"),
        };
        let path =
            Query::default().set("repo", repo).set("tag", tag).on(format!("/images/{}/tag", escape(&self.source)));
        client.post(&path).await.map(drop)
    }
}
