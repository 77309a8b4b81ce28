//! The build cache, as the builder asks it: a step is its parent and its
//! instruction, with a digest of what it copies. Docker's rules.

use super::{Build, lock};
use crate::images::CommitRequest;
use hako_api::types::ContainerConfig;
use hako_model::{Digest, Error, Result};
use hako_registry::Platform;
use hako_store::{Blob, NewStep};
use sha2::{Digest as _, Sha256};

/// A step before it is known what it comes to.
pub struct Asked<'a> {
    /// The image below; none before the first step on nothing.
    pub parent: Option<&'a Digest>,
    /// What stands in the history: Docker's comment, or the command with the arguments that it sees.
    pub command: Vec<String>,
    /// What else decides what it comes to.
    pub more: Vec<String>,
    /// The configuration that it leaves.
    pub config: &'a ContainerConfig,
    /// `MAINTAINER`.
    pub author: &'a str,
    /// The kind of record.
    pub kind: &'static str,
}

impl Asked<'_> {
    /// `platform` is part of it where there is no parent that says it.
    fn key(&self, platform: Option<&Platform>) -> Result<String> {
        let parent = self.parent.map_or("", Digest::as_str);
        let config = serde_json::to_string(self.config).map_err(|err| Error::internal(err.to_string()))?;
        // A list of texts says by itself where each ends.
        let mut more = self.more.clone();
        more.extend(platform.filter(|_| self.parent.is_none()).map(|platform| format!("platform={platform}")));
        let whole = serde_json::to_vec(&(parent, &self.command, more, config, self.author));
        let whole = whole.map_err(|err| Error::internal(err.to_string()))?;
        Ok(hex::encode(Sha256::digest(whole)))
    }

    fn step(&self, platform: Option<&Platform>) -> Result<NewStep> {
        Ok(NewStep {
            key: self.key(platform)?,
            parent: self.parent.map(Digest::to_string).unwrap_or_default(),
            kind: self.kind.to_owned(),
            description: self.command.join(" "),
            size: 0,
        })
    }
}

impl Build {
    /// The image that the step has come to before. An image from nothing is for
    /// `platform`.
    ///
    /// # Errors
    /// The store's.
    pub async fn cached(&self, asked: &Asked<'_>, platform: Option<&Platform>) -> Result<Option<Digest>> {
        if self.options.no_cache {
            return Ok(None);
        }
        let key = asked.key(platform)?;
        let store = self.engine.store.clone();
        let (found, key) = tokio::task::spawn_blocking(move || Ok::<_, Error>((store.step(&key)?, key)))
            .await
            .map_err(|err| Error::internal(err.to_string()))??;
        let Some(image) = found else { return Ok(None) };
        if !self.hold(&image).await? {
            return Ok(None);
        }
        lock(&self.used).push(key);
        Ok(Some(image))
    }

    /// Makes the step's image, with a layer or without, and keeps it.
    ///
    /// # Errors
    /// The store's.
    pub async fn commit(
        &self,
        asked: &Asked<'_>,
        platform: Option<&Platform>,
        layer: Option<Blob>,
        container: &str,
    ) -> Result<Digest> {
        let request = CommitRequest {
            parent: asked.parent.cloned(),
            platform: platform.cloned(),
            layer,
            container: container.to_owned(),
            created_by: asked.command.join(" "),
            author: asked.author.to_owned(),
            comment: String::new(),
            config: serde_json::to_value(asked.config).map_err(|err| Error::internal(err.to_string()))?,
            name: None,
            step: Some(asked.step(platform)?),
        };
        let image = self.engine.images.commit(request).await?;
        match self.hold(&image).await? {
            true => Ok(image),
            false => {
                Err(Error::conflict(format!("the image {} of a step was removed during its build", image.short())))
            }
        }
    }
}
