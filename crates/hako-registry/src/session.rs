//! Work on one repository: the ping, requests with authorization, manifests.

use crate::{
    Descriptor, Error, IndexEntry, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, Result,
    answer::{Subject, check, read_limited},
    manifest::{ACCEPT, parse_index, parse_manifest, select},
    source::{Access, Source},
};
use hako_model::{Digest, Reference, Repository};
use reqwest::{Method, RequestBuilder, Response, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Work on one repository of one registry.
#[derive(Debug)]
pub struct Session {
    pub(crate) repository: Repository,
    /// Mirrors, and at last the registry itself. Never empty.
    sources: Vec<Source>,
    pub(crate) access: Access,
    push: bool,
}

/// What a tag or digest leads to, for one platform.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The digest of what the registry answered: an index, or the manifest.
    pub target: Digest,
    /// The index, where there is one, with its media type.
    pub index: Option<(Vec<u8>, String)>,
    /// The manifest's own digest.
    pub digest: Digest,
    /// The manifest as it came.
    pub bytes: Vec<u8>,
    /// The manifest, read.
    pub manifest: Manifest,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
}

impl Session {
    pub(crate) fn new(repository: Repository, sources: Vec<Source>, actions: &str) -> Self {
        let access = Access::to(repository.path(), actions);
        Self { repository, sources, access, push: actions.contains("push") }
    }

    /// What `reference` leads to on `platform`. Every document is verified
    /// against the digest that named it.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let first = self.document(reference.target(), reference.digest.as_ref(), &reference.familiar()).await?;
        let Some(entries) = parse_index(&first.bytes, &first.media_type)? else {
            let manifest = parse_manifest(&first.bytes, &first.media_type)?;
            return Ok(Resolved {
                target: first.digest.clone(),
                index: None,
                digest: first.digest,
                bytes: first.bytes,
                manifest,
            });
        };
        let entry: &IndexEntry = select(&entries, platform)?;
        let digest = &entry.descriptor.digest;
        let child = self.document(digest.as_str(), Some(digest), &reference.familiar()).await?;
        let manifest = parse_manifest(&child.bytes, &child.media_type)?;
        Ok(Resolved {
            target: first.digest,
            index: Some((first.bytes, first.media_type)),
            digest: child.digest,
            bytes: child.bytes,
            manifest,
        })
    }

    /// A config: held in memory, at most [`MAX_CONFIG`] bytes, verified.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let what = "config".to_owned();
        if descriptor.size > MAX_CONFIG {
            return Err(Error::TooLarge { what, limit: MAX_CONFIG });
        }
        let response = self.get(&format!("blobs/{}", descriptor.digest), |r| r).await?;
        let response = self.check(response, descriptor.digest.as_str()).await?;
        let bytes = read_limited(response, MAX_CONFIG, &what).await?;
        verify(&bytes, &descriptor.digest, &what)?;
        Ok(bytes)
    }

    /// Every tag of the repository, in the registry's order.
    ///
    /// # Errors
    /// In Docker's words; [`Error::TooLarge`] for more than a registry of good faith has.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let mut tags: Vec<String> = Vec::new();
        loop {
            // The next page begins behind the last tag of this one.
            let last = tags.last().cloned();
            let edit = |r: RequestBuilder| match &last {
                Some(last) => r.query(&[("n", "1000"), ("last", last)]),
                None => r.query(&[("n", "1000")]),
            };
            let response = self.get("tags/list", edit).await?;
            let response = self.check(response, &self.repository.familiar()).await?;
            let more = response.headers().contains_key(header::LINK);
            let body = read_limited(response, MAX_MANIFEST, "list of tags").await?;
            let page: TagList = serde_json::from_slice(&body).map_err(|err| Error::malformed("list of tags", err))?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() || !more {
                tags.extend(page);
                return Ok(tags);
            }
            tags.extend(page);
            if tags.len() > 100_000 {
                return Err(Error::TooLarge { what: "list of tags".into(), limit: 100_000 });
            }
        }
    }

    pub(crate) async fn document(&self, target: &str, expected: Option<&Digest>, familiar: &str) -> Result<Document> {
        let response = self.get(&format!("manifests/{target}"), |r| r.header(header::ACCEPT, ACCEPT)).await?;
        let response = self.check(response, familiar).await?;
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let media_type = text("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let named: Option<Digest> = text("docker-content-digest").and_then(|d| d.parse().ok());
        let what = "manifest";
        let bytes = read_limited(response, MAX_MANIFEST, what).await?;
        let digest = digest_of(&bytes);
        if let Some(expected) = expected.or(named.as_ref()) {
            verify(&bytes, expected, what)?;
        }
        Ok(Document { bytes, media_type, digest })
    }

    /// The registry itself.
    pub(crate) fn origin(&self) -> Result<&Source> {
        self.sources.last().ok_or_else(|| Error::Registry("registry has no address".into()))
    }

    /// Sends a GET below the repository: to the mirrors in their order while
    /// they have no answer, then to the registry.
    pub(crate) async fn get(&self, path: &str, edit: impl Fn(RequestBuilder) -> RequestBuilder) -> Result<Response> {
        let (origin, mirrors) = (self.origin()?, &self.sources[..self.sources.len() - 1]);
        for mirror in mirrors.iter().filter(|mirror| !mirror.is_dead()) {
            match self.get_from(mirror, path, &edit).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    tracing::debug!(url = %response.url(), status = %response.status(), "mirror has it not");
                }
                Err(err) => {
                    tracing::info!("mirror is left aside: {err}");
                    mirror.give_up();
                }
            }
        }
        self.get_from(origin, path, &edit).await
    }

    async fn get_from(
        &self,
        source: &Source,
        path: &str,
        edit: &impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let url = self.url(source, path).await?;
        source.send(Method::GET, url, &self.access, edit).await
    }

    /// An address below the repository.
    pub(crate) async fn url(&self, source: &Source, path: &str) -> Result<reqwest::Url> {
        let url = source.base().await?.join(&format!("{}/{path}", self.repository.path()));
        url.map_err(|_| Error::Request("invalid reference format".into()))
    }

    /// Turns an error answer about `what` into an error.
    pub(crate) async fn check(&self, response: Response, what: &str) -> Result<Response> {
        let repository = self.repository.familiar();
        let somebody = self.origin()?.is_somebody();
        check(response, Subject { what, repository: &repository, push: self.push, somebody }).await
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(<[u8; 32]>::from(Sha256::digest(bytes)))
}

fn verify(bytes: &[u8], expected: &Digest, what: &str) -> Result<()> {
    let actual = digest_of(bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(Error::Digest { what: what.to_owned(), expected: expected.clone(), actual })
}
