//! What is sent to a registry: blobs that it does not have, and manifests.
//!
//! ```text
//! has_blob ─no─► mount(from another repository) ─┬─ Mounted::There
//!                                                └─ Mounted::Begun(place) ─► upload ─► PUT with the digest
//! ```
//! A blob is sent whole with its digest in one request, which every registry
//! takes; what broke off is sent again from its beginning.

use crate::{Descriptor, Error, Result, Session, session::digest_of};
use bytes::Bytes;
use futures::stream::BoxStream;
use hako_model::Digest;
use reqwest::{Body, Method, Response, StatusCode, Url, header};
use std::{io, time::Duration};

/// How often an upload is tried.
const ATTEMPTS: u32 = 5;

/// A blob's bytes.
pub type Content = BoxStream<'static, io::Result<Bytes>>;

/// What came of the wish to take a blob from another repository.
#[derive(Debug)]
pub enum Mounted {
    /// It is in the repository now.
    There,
    /// It is not; the registry has begun an upload instead, to be given to [`Session::upload`].
    Begun(Place),
}

/// Where an upload goes on.
#[derive(Debug)]
pub struct Place(Url);

impl Session {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let origin = self.origin()?;
        let url = self.url(origin, &format!("blobs/{digest}")).await?;
        let response = origin.send(Method::HEAD, url, &self.access, |request| request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => self.check(response, digest.as_str()).await.map(|_| true),
        }
    }

    /// Asks the registry to take a blob from another of its repositories.
    ///
    /// # Errors
    /// In Docker's words; the blob can then still be uploaded.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<Mounted> {
        let origin = self.origin()?;
        let url = self.url(origin, "blobs/uploads/").await?;
        let access = self.access.and_from(from);
        let query = [("mount", digest.as_str()), ("from", from)];
        let response = origin.send(Method::POST, url, &access, |r| r.query(&query).body("")).await?;
        let response = self.check(response, digest.as_str()).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Mounted::There),
            _ => Ok(Mounted::Begun(self.place(&response)?)),
        }
    }

    /// Ends an upload that is not gone on with. If it fails, the registry ends it some day.
    pub async fn cancel(&self, Place(url): Place) {
        let Ok(origin) = self.origin() else { return };
        if let Err(err) = origin.send(Method::DELETE, url, &self.access, |request| request).await {
            tracing::debug!("cancel an upload: {err}");
        }
    }

    /// Sends a blob, at `begun` or at a new place. `open` gives its bytes from
    /// their beginning, and is called again for each attempt.
    ///
    /// # Errors
    /// In Docker's words, after some attempts where the connection breaks.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        mut begun: Option<Place>,
        open: &(dyn Fn() -> Content + Send + Sync),
    ) -> Result<()> {
        let mut failures = 0;
        loop {
            let err = match self.attempt_upload(descriptor, begun.take(), open).await {
                Ok(()) => return Ok(()),
                Err(err @ (Error::Transport { .. } | Error::Status(_))) => err,
                Err(err) => return Err(err),
            };
            failures += 1;
            if failures == ATTEMPTS {
                return Err(err);
            }
            tracing::debug!(blob = %descriptor.digest, "upload broke off, trying again: {err}");
            tokio::time::sleep(Duration::from_millis(200 << failures)).await;
        }
    }

    async fn attempt_upload(
        &self,
        descriptor: &Descriptor,
        begun: Option<Place>,
        open: &(dyn Fn() -> Content + Send + Sync),
    ) -> Result<()> {
        let Place(mut url) = match begun {
            Some(place) => place,
            None => self.begin_upload(&descriptor.digest).await?,
        };
        url.query_pairs_mut().append_pair("digest", descriptor.digest.as_str());
        let edit = |request: reqwest::RequestBuilder| {
            request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, descriptor.size)
                .body(Body::wrap_stream(open()))
        };
        let response = self.origin()?.send(Method::PUT, url, &self.access, edit).await?;
        self.check(response, descriptor.digest.as_str()).await.map(drop)
    }

    async fn begin_upload(&self, digest: &Digest) -> Result<Place> {
        let origin = self.origin()?;
        let url = self.url(origin, "blobs/uploads/").await?;
        let response = origin.send(Method::POST, url, &self.access, |request| request.body("")).await?;
        let response = self.check(response, digest.as_str()).await?;
        self.place(&response)
    }

    fn place(&self, response: &Response) -> Result<Place> {
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let missing = || Error::malformed("upload", "the registry names no place for it");
        let url = response.url().join(location.ok_or_else(missing)?).map_err(|_| missing())?;
        Ok(Place(url))
    }

    /// Stores a manifest or index under a tag or its own digest.
    ///
    /// # Errors
    /// In Docker's words; [`Error::Digest`] where the registry made something else of it.
    pub async fn put_manifest(&self, target: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let origin = self.origin()?;
        let url = self.url(origin, &format!("manifests/{target}")).await?;
        let body = Bytes::copy_from_slice(bytes);
        let edit = |r: reqwest::RequestBuilder| r.header(header::CONTENT_TYPE, media_type).body(body.clone());
        let response = origin.send(Method::PUT, url, &self.access, edit).await?;
        let response = self.check(response, target).await?;
        let named = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let (expected, actual) = (digest_of(bytes), named.and_then(|digest| digest.parse().ok()));
        match actual {
            Some(actual) if actual != expected => Err(Error::Digest { what: "manifest".into(), expected, actual }),
            _ => Ok(()),
        }
    }
}
