//! `GET /images/get` and `GET /images/{name}/get`: one tar that is a
//! docker-archive and an OCI layout.
//!
//! ```text
//! blobs/sha256/<hex>   config, manifest and layers of every image, each once
//! index.json           OCI: a manifest under each of its names
//! manifest.json        Docker: config, names and layers of each image
//! oci-layout
//! repositories         Docker before 1.10
//! ```
//!
//! Layers are the archives that came, so that digests stay what they were. The
//! same images under the same names give the same bytes: entries are in the
//! order of their names, owners and times are zero, and what has no manifest
//! gets one that depends on its content alone.

mod contents;
mod manifest;

use super::{ImageEvent, ImageService, install::run_blocking, names, platform::Wanted};
use bytes::Bytes;
use contents::Contents;
use futures::{Stream, stream};
use hako_layers::ArchiveWriter;
use hako_model::{Digest, Error, ErrorKind, Reference, Result};
use hako_store::Store;
use std::{
    collections::HashMap,
    io::{self, Write},
};
use tokio::sync::mpsc;

/// Sent in pieces of this size.
const PIECE: usize = 256 << 10;

/// An image to be saved, with the names that are saved with it.
#[derive(Debug, PartialEq, Eq)]
struct Picked {
    id: Digest,
    tags: Vec<Reference>,
}

impl ImageService {
    pub(super) async fn save_inner(
        &self,
        wanted: Vec<String>,
        platform: &str,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let platform = Wanted::read(platform)?;
        let store = self.store.clone();
        let (contents, ids) = run_blocking(move || {
            let picked = pick(&store, &wanted, platform.as_ref())?;
            let contents = Contents::collect(&store, &picked)?;
            let ids: Vec<Digest> = picked.into_iter().map(|image| image.id).collect();
            Ok((contents, ids))
        })
        .await?;
        for id in ids {
            let attributes = HashMap::from([("name".to_owned(), id.to_string())]);
            self.tell(ImageEvent { action: "save", id: id.to_string(), attributes });
        }
        let (sender, receiver) = mpsc::channel(4);
        let store = self.store.clone();
        // As long as the client likes to read: not on the pool that all share.
        std::thread::Builder::new().name("save".into()).stack_size(1 << 20).spawn(move || {
            let mut out = Pieces { sender: sender.clone(), buffer: Vec::with_capacity(PIECE) };
            if let Err(err) = write(&store, &contents, &mut out) {
                tracing::debug!("a save broke off: {err}");
                // The client has gone, or it learns by this that the archive is not whole.
                let _ = sender.blocking_send(Err(err));
            }
        })?;
        Ok(stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) }))
    }
}

/// By Docker's rules: an id or the beginning of one saves the image without a
/// name, a repository all its tags, a reference that one.
fn pick(store: &Store, wanted: &[String], platform: Option<&Wanted>) -> Result<Vec<Picked>> {
    if wanted.is_empty() {
        return Err(Error::invalid("no image is named that shall be saved"));
    }
    let mut picked: Vec<Picked> = Vec::new();
    for name in wanted {
        let mut of_repository = repository(store, name)?;
        if of_repository.is_empty() {
            of_repository.push(name.clone());
        }
        for name in of_repository {
            let (id, tag) = one(store, &name, platform)?;
            let at = picked.iter().position(|image| image.id == id).unwrap_or_else(|| {
                picked.push(Picked { id, tags: Vec::new() });
                picked.len() - 1
            });
            if let Some(tag) = tag.filter(|tag| !picked[at].tags.contains(tag)) {
                picked[at].tags.push(tag);
            }
        }
    }
    Ok(picked)
}

/// The image that a name leads to, for the platform or else for this host, and
/// the tag that the name is, if it is one.
fn one(store: &Store, name: &str, platform: Option<&Wanted>) -> Result<(Digest, Option<Reference>)> {
    let found = names::find(store, name)?;
    let tag = found.reference.filter(|reference| reference.tag.is_some() && reference.digest.is_none());
    let Some(platform) = platform else { return Ok((found.image.id, tag)) };
    match names::find_for(store, name, platform) {
        Ok(image) => Ok((image.id, tag)),
        Err(err) if err.kind == ErrorKind::NotFound => {
            Err(Error::not_found(format!("no suitable export target found for platform {platform}")))
        }
        Err(err) => Err(err),
    }
}

/// Every name of a repository, if `name` is no more than one.
fn repository(store: &Store, name: &str) -> Result<Vec<String>> {
    let Ok(reference) = Reference::parse(name) else { return Ok(Vec::new()) };
    if reference.tag.is_some() || reference.digest.is_some() {
        return Ok(Vec::new());
    }
    let repository = reference.repository.to_string();
    let mut names: Vec<String> = store.references(None)?.into_iter().map(|row| row.name).collect();
    names.retain(|name| names::split(name).0 == repository);
    // One that leads to images for several platforms is there for each.
    names.dedup();
    Ok(names)
}

fn write(store: &Store, contents: &Contents, out: &mut Pieces) -> io::Result<()> {
    let mut tar = ArchiveWriter::new(&mut *out);
    tar.dir("blobs/")?;
    tar.dir("blobs/sha256/")?;
    for (digest, blob) in &contents.blobs {
        let name = contents::blob_name(digest);
        match blob {
            contents::Blob::Stored(size) => {
                let file = store.open_blob(digest).map_err(io::Error::other)?;
                tar.file(&name, *size, file)?;
            }
            contents::Blob::Made(bytes) => tar.file(&name, bytes.len() as u64, bytes.as_slice())?,
        }
    }
    for (name, bytes) in &contents.documents {
        tar.file(name, bytes.len() as u64, bytes.as_slice())?;
    }
    tar.finish()?;
    out.flush()
}

/// Gathers what is written and sends it in pieces.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
