//! Layers: streamed to whoever writes them, and resumed where they break off.

use crate::{Descriptor, Error, Result, Session};
use bytes::Bytes;
use reqwest::{Response, StatusCode, header};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a download is tried without a single byte of progress.
const ATTEMPTS: u32 = 5;

impl Session {
    /// Sends a blob's bytes, in order and each once, to `sink`. A broken
    /// connection is resumed by `Range`. The digest is for the receiver to
    /// verify; more than `descriptor.size` bytes are never sent.
    ///
    /// # Errors
    /// In Docker's words; [`Error::Cancelled`] where the receiver has gone.
    pub async fn blob(&self, descriptor: &Descriptor, sink: &mpsc::Sender<Bytes>) -> Result<()> {
        let mut done = 0u64;
        let mut failures = 0;
        loop {
            let before = done;
            let err = match self.attempt(descriptor, &mut done, sink).await {
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
            if failures >= ATTEMPTS {
                return Err(err);
            }
            tracing::debug!(blob = %descriptor.digest, done, "download broke off, trying again: {err}");
            tokio::time::sleep(Duration::from_millis(200 << failures)).await;
        }
    }

    async fn attempt(&self, descriptor: &Descriptor, done: &mut u64, sink: &mpsc::Sender<Bytes>) -> Result<()> {
        let from = *done;
        let range = format!("bytes={from}-");
        let path = format!("blobs/{}", descriptor.digest);
        let response = self.get(&path, |r| if from > 0 { r.header(header::RANGE, &range) } else { r }).await?;
        let mut response = self.check(response, descriptor.digest.as_str()).await?;
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
}

fn resumes_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && range.is_some_and(|r| r.starts_with(&format!("bytes {from}-")))
}
