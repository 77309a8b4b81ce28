//! Layers: streamed to whoever writes them, and resumed where they break off.

use crate::{Descriptor, Error, Result, Session, source::Source};
use bytes::Bytes;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a download is tried without a single byte of progress.
const ATTEMPTS: u32 = 5;
/// The same of a mirror: there is somebody else to ask.
const MIRROR_ATTEMPTS: u32 = 2;

impl Session {
    /// Sends a blob's bytes, in order and each once, to `sink`. A broken
    /// connection is resumed by `Range`; a mirror that breaks off again and
    /// again is left, and the next place goes on where it ended. The digest is
    /// for the receiver to verify: what came of a mirror may be wrong. More
    /// than `descriptor.size` bytes are never sent.
    ///
    /// # Errors
    /// In Docker's words; [`Error::Cancelled`] where the receiver has gone.
    pub async fn blob(&self, descriptor: &Descriptor, sink: &mpsc::Sender<Bytes>) -> Result<()> {
        let mut done = 0u64;
        let (mut failures, mut breaks) = (0, 0);
        loop {
            let before = done;
            let (source, ended) = match self.begin(descriptor, done).await {
                Ok((source, response)) => (source, send(response, descriptor, &mut done, sink).await),
                Err(err) => (self.origin()?, Err(err)),
            };
            let err = match ended {
                Ok(()) if done == descriptor.size => return Ok(()),
                // The answer was whole, so that a second one would be the same.
                Ok(()) => {
                    let (digest, size) = (&descriptor.digest, descriptor.size);
                    return Err(Error::Registry(format!("blob {digest} has {done} bytes, expected a size of {size}")));
                }
                Err(err @ (Error::Transport { .. } | Error::Status(_))) => err,
                Err(err) => return Err(err),
            };
            failures = if done > before { 1 } else { failures + 1 };
            if self.is_mirror(source) {
                breaks += 1;
                if failures >= MIRROR_ATTEMPTS || breaks >= ATTEMPTS {
                    tracing::info!(blob = %descriptor.digest, done, "mirror is left aside: {err}");
                    source.give_up();
                    (failures, breaks) = (0, 0);
                    continue;
                }
            } else if failures >= ATTEMPTS {
                return Err(err);
            }
            tracing::debug!(blob = %descriptor.digest, done, "download broke off, trying again: {err}");
            tokio::time::sleep(Duration::from_millis(200 << failures)).await;
        }
    }

    /// Asks for a blob from byte `from` on.
    async fn begin(&self, descriptor: &Descriptor, from: u64) -> Result<(&Source, Response)> {
        let range = format!("bytes={from}-");
        let path = format!("blobs/{}", descriptor.digest);
        let edit = |r: RequestBuilder| if from > 0 { r.header(header::RANGE, &range) } else { r };
        let (source, response) = self.get(&path, edit).await?;
        Ok((source, self.check(response, descriptor.digest.as_str()).await?))
    }
}

/// Sends on what the answer has from byte `done` on.
async fn send(
    mut response: Response,
    descriptor: &Descriptor,
    done: &mut u64,
    sink: &mpsc::Sender<Bytes>,
) -> Result<()> {
    let from = *done;
    // A server that does not know ranges begins again.
    let mut skip = if from > 0 && !resumes_at(&response, from) { from } else { 0 };
    let url = response.url().clone();
    while let Some(mut piece) = response.chunk().await.map_err(|err| Error::transport("Get", &url, &err))? {
        let passed = skip.min(piece.len() as u64);
        skip -= passed;
        // At most piece.len(), so it fits.
        let piece = piece.split_off(usize::try_from(passed).unwrap_or(piece.len()));
        if piece.is_empty() {
            continue;
        }
        if *done + piece.len() as u64 > descriptor.size {
            let what = format!("blob {}", descriptor.digest);
            return Err(Error::TooLarge { what, limit: descriptor.size });
        }
        *done += piece.len() as u64;
        sink.send(piece).await.map_err(|_| Error::Cancelled)?;
    }
    Ok(())
}

fn resumes_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && range.is_some_and(|r| r.starts_with(&format!("bytes {from}-")))
}
