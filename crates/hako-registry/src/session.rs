//! Work on one repository: the ping, requests with authorization, manifests.

use crate::{
    Descriptor, Error, IndexEntry, MAX_CONFIG, MAX_MANIFEST, Manifest, Result,
    answer::{Subject, check, read_limited},
    manifest::{ACCEPT, parse_index, parse_manifest},
    source::{Access, Source},
};
use hako_model::{Digest, Reference, Repository};
use reqwest::{
    Method, RequestBuilder, Response,
    header::{self, HeaderMap},
};
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

/// What a tag or digest leads to, and of an index one entry.
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

/// What an error calls it.
const MANIFEST: &str = "manifest";

/// A body that is held in memory.
struct Wanted<'a> {
    /// What is asked for, for the text of a refusal.
    subject: &'a str,
    /// What it is, for the text of another failure.
    what: &'a str,
    /// So many bytes at most.
    limit: u64,
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

    /// What `reference` leads to; of an index with this digest, `choose` says
    /// which entry. Every document is verified against the digest that named it.
    ///
    /// # Errors
    /// In Docker's words; [`Error::Choice`] where none is chosen.
    pub async fn resolve(
        &self,
        reference: &Reference,
        choose: impl FnOnce(&Digest, &[IndexEntry]) -> hako_model::Result<usize>,
    ) -> Result<Resolved> {
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
        let chosen = choose(&first.digest, &entries).map_err(Error::Choice)?;
        let entry = entries.get(chosen).ok_or_else(|| Error::malformed(MANIFEST, "its index has no such entry"))?;
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
        let wanted = Wanted { subject: descriptor.digest.as_str(), what: &what, limit: MAX_CONFIG };
        self.read(
            &format!("blobs/{}", descriptor.digest),
            |r| r,
            wanted,
            |_, bytes| {
                verify(&bytes, &descriptor.digest, &what)?;
                Ok(bytes)
            },
        )
        .await
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
            let name = self.repository.familiar();
            let wanted = Wanted { subject: &name, what: "list of tags", limit: MAX_MANIFEST };
            let (page, more) = self
                .read("tags/list", edit, wanted, |headers, body| {
                    let page: TagList =
                        serde_json::from_slice(&body).map_err(|err| Error::malformed("list of tags", err))?;
                    Ok((page, headers.contains_key(header::LINK)))
                })
                .await?;
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
        let accept = |r: RequestBuilder| r.header(header::ACCEPT, ACCEPT);
        let wanted = Wanted { subject: familiar, what: MANIFEST, limit: MAX_MANIFEST };
        let read = |headers: &HeaderMap, bytes| document(headers, bytes, expected);
        self.read(&format!("manifests/{target}"), accept, wanted, read).await
    }

    /// Reads an answer to its end. Where a mirror's breaks off or is not what
    /// it should be, the mirror is left aside and the next place is asked.
    async fn read<T>(
        &self,
        path: &str,
        edit: impl Fn(RequestBuilder) -> RequestBuilder,
        wanted: Wanted<'_>,
        read: impl Fn(&HeaderMap, Vec<u8>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let (source, response) = self.get(path, &edit).await?;
            let body = async {
                let response = self.check(response, wanted.subject).await?;
                let headers = response.headers().clone();
                Ok((headers, read_limited(response, wanted.limit, wanted.what).await?))
            };
            match body.await.and_then(|(headers, body)| read(&headers, body)) {
                Err(err) if self.is_mirror(source) => {
                    tracing::info!("mirror is left aside: {err}");
                    source.give_up();
                }
                done => return done,
            }
        }
    }

    /// Whether any mirror is asked yet.
    #[must_use]
    pub fn has_mirrors(&self) -> bool {
        self.mirrors().iter().any(|mirror| !mirror.is_dead())
    }

    /// Only the registry itself is asked from now on.
    pub fn leave_mirrors(&self) {
        self.mirrors().iter().for_each(Source::give_up);
    }

    fn mirrors(&self) -> &[Source] {
        self.sources.split_last().map_or(&[], |(_, mirrors)| mirrors)
    }

    pub(crate) fn is_mirror(&self, source: &Source) -> bool {
        self.mirrors().iter().any(|mirror| std::ptr::eq(mirror, source))
    }

    /// The registry itself.
    pub(crate) fn origin(&self) -> Result<&Source> {
        self.sources.last().ok_or_else(|| Error::Registry("registry has no address".into()))
    }

    /// Sends a GET below the repository: to the mirrors in their order while
    /// they have no answer, then to the registry.
    pub(crate) async fn get(
        &self,
        path: &str,
        edit: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<(&Source, Response)> {
        for mirror in self.mirrors().iter().filter(|mirror| !mirror.is_dead()) {
            match self.get_from(mirror, path, &edit).await {
                Ok(response) if response.status().is_success() => return Ok((mirror, response)),
                Ok(response) => {
                    tracing::debug!(url = %response.url(), status = %response.status(), "mirror has it not");
                }
                Err(err) => {
                    tracing::info!("mirror is left aside: {err}");
                    mirror.give_up();
                }
            }
        }
        let origin = self.origin()?;
        Ok((origin, self.get_from(origin, path, &edit).await?))
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

fn document(headers: &HeaderMap, bytes: Vec<u8>, expected: Option<&Digest>) -> Result<Document> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let media_type = text("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let named: Option<Digest> = text("docker-content-digest").and_then(|d| d.parse().ok());
    let digest = digest_of(&bytes);
    if let Some(expected) = expected.or(named.as_ref()) {
        verify(&bytes, expected, MANIFEST)?;
    }
    Ok(Document { bytes, media_type, digest })
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
