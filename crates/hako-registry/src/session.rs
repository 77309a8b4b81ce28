//! Work on one repository: the ping, requests with authorization, manifests.

use crate::{
    Credentials, Descriptor, Error, IndexEntry, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, Result,
    auth::Challenge,
    manifest::{ACCEPT, parse_index, parse_manifest, select},
};
use hako_model::{Digest, Reference, Repository};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};

/// Work on one repository of one registry.
#[derive(Debug)]
pub struct Session {
    pub(crate) http: reqwest::Client,
    pub(crate) repository: Repository,
    credentials: Option<Credentials>,
    bases: Vec<Url>,
    found: OnceCell<Found>,
    /// The `Authorization` header in use.
    authorization: Mutex<Option<String>>,
}

/// What the ping found.
#[derive(Debug)]
struct Found {
    base: Url,
    challenge: Option<Challenge>,
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
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

struct Document {
    bytes: Vec<u8>,
    media_type: String,
    digest: Digest,
}

impl Session {
    pub(crate) fn new(
        http: reqwest::Client,
        repository: Repository,
        credentials: Option<Credentials>,
        bases: Vec<Url>,
    ) -> Self {
        Self { http, repository, credentials, bases, found: OnceCell::new(), authorization: Mutex::new(None) }
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
        let what = format!("config {}", descriptor.digest);
        if descriptor.size > MAX_CONFIG {
            return Err(Error::TooLarge { what, limit: MAX_CONFIG });
        }
        let response = self.get(&format!("blobs/{}", descriptor.digest), |r| r).await?;
        let response = self.check(response, &descriptor.digest.to_string()).await?;
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

    async fn document(&self, target: &str, expected: Option<&Digest>, familiar: &str) -> Result<Document> {
        let response = self.get(&format!("manifests/{target}"), |r| r.header(header::ACCEPT, ACCEPT)).await?;
        let response = self.check(response, familiar).await?;
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let media_type = text("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let named: Option<Digest> = text("docker-content-digest").and_then(|d| d.parse().ok());
        let what = format!("manifest for {familiar}");
        let bytes = read_limited(response, MAX_MANIFEST, &what).await?;
        let digest = digest_of(&bytes);
        if let Some(expected) = expected.or(named.as_ref()) {
            verify(&bytes, expected, &what)?;
        }
        Ok(Document { bytes, media_type, digest })
    }

    async fn found(&self) -> Result<&Found> {
        self.found.get_or_try_init(|| self.ping()).await
    }

    /// Finds the address that answers, and what it asks for.
    async fn ping(&self) -> Result<Found> {
        let mut last = None;
        for base in &self.bases {
            match self.http.get(base.clone()).send().await {
                Ok(response) => {
                    let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
                    let challenge = match response.status() {
                        StatusCode::UNAUTHORIZED => Challenge::parse(headers.iter().filter_map(|h| h.to_str().ok())),
                        _ => None,
                    };
                    return Ok(Found { base: base.clone(), challenge });
                }
                Err(err) => last = Some(Error::transport(base, &err)),
            }
        }
        Err(last.unwrap_or_else(|| Error::Registry("registry has no address".into())))
    }

    /// Sends a GET below the repository, and again with authorization where it is asked for.
    pub(crate) async fn get(&self, path: &str, edit: impl Fn(RequestBuilder) -> RequestBuilder) -> Result<Response> {
        let found = self.found().await?;
        let url = found.base.join(&format!("{}/{path}", self.repository.path()));
        let url = url.map_err(|_| Error::Request("invalid reference format".into()))?;
        let mut refreshed = false;
        loop {
            let authorization = self.authorize(found, refreshed).await?;
            let mut request = edit(self.http.request(Method::GET, url.clone()));
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|err| Error::transport(&url, &err))?;
            // A token may have run out on the way.
            if response.status() == StatusCode::UNAUTHORIZED && found.challenge.is_some() && !refreshed {
                refreshed = true;
                continue;
            }
            return Ok(response);
        }
    }

    async fn authorize(&self, found: &Found, refresh: bool) -> Result<Option<String>> {
        let Some(challenge) = &found.challenge else { return Ok(None) };
        let mut slot = self.authorization.lock().await;
        if slot.is_none() || refresh {
            let scope = format!("repository:{}:pull", self.repository.path());
            *slot = Some(challenge.answer(&self.http, self.credentials.as_ref(), &scope).await?);
        }
        Ok(slot.clone())
    }

    /// Turns an error answer into an error.
    pub(crate) async fn check(&self, response: Response, subject: &str) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read_limited(response, 64 << 10, "error answer").await.unwrap_or_default();
        let entry = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|b| b.errors.into_iter().next());
        let name = self.repository.familiar();
        let Some(entry) = entry else {
            return Err(match status {
                StatusCode::NOT_FOUND => Error::NoManifest {
                    reference: subject.to_owned(),
                    cause: "manifest unknown: manifest unknown".into(),
                },
                StatusCode::UNAUTHORIZED => Error::Unauthorized("unauthorized: authentication required".into()),
                StatusCode::FORBIDDEN => Error::Denied { name, cause: "denied".into() },
                _ => Error::Status(status.to_string()),
            });
        };
        // A registry's words are shown, but not at any length.
        let message: String = entry.message.chars().take(512).collect();
        let cause = format!("{}: {message}", entry.code.to_lowercase().replace('_', " "));
        Err(match entry.code.as_str() {
            "MANIFEST_UNKNOWN" => Error::NoManifest { reference: subject.to_owned(), cause },
            "NAME_UNKNOWN" => Error::NoRepository { name, cause },
            "DENIED" => Error::Denied { name, cause },
            "UNAUTHORIZED" if self.credentials.is_none() => Error::Denied { name, cause },
            "UNAUTHORIZED" => Error::Unauthorized(cause),
            _ => Error::Registry(cause),
        })
    }
}

/// Reads a body of at most `limit` bytes; one that is longer is left unread.
pub(crate) async fn read_limited(mut response: Response, limit: u64, what: &str) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|err| Error::transport(&url, &err))? {
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(<[u8; 32]>::from(Sha256::digest(bytes)))
}

fn verify(bytes: &[u8], expected: &Digest, what: &str) -> Result<()> {
    let actual = digest_of(bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(Error::Digest { what: what.to_owned(), expected: expected.clone(), actual })
}
