//! How content becomes an image: layers one by one, then the image at once.

use super::{ImageService, document::Document};
use hako_model::{Digest, Error, Result};
use hako_store::{Lease, NewImage, NewLayer, NewRef, NewStep, Store};
use sha2::{Digest as _, Sha256};
use std::{fs::File, path::Path};
use tokio::sync::oneshot;

/// One layer to be there before the image.
pub(super) struct LayerSource<'a> {
    /// Its archive.
    pub archive: File,
    /// The archive's digest.
    pub blob: &'a Digest,
    /// The archive's media type.
    pub media_type: &'a str,
    /// Which layer of the image, from 0.
    pub index: usize,
    /// The image.
    pub document: &'a Document,
    /// The image's chain ids.
    pub chains: &'a [Digest],
}

/// Unpacks a layer, unless it is there; one whose archive was lost gets it again. Two who want the same layer at once
/// unpack it once. Blocks. Its chain id must be leased.
pub(super) fn install_layer(store: &Store, source: LayerSource<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
    install_layer_keeping(store, source, progress, || Ok(()))
}

/// [`install_layer`] of an archive that is not in the store yet: `keep` puts it
/// there. That happens before the layer's row exists, so that nobody who finds
/// the layer misses its archive, and after the layer's sync, which has written
/// these bytes out already.
pub(super) fn install_layer_keeping(
    store: &Store,
    source: LayerSource<'_>,
    progress: &(dyn Fn(u64) + Sync),
    keep: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let chain = &source.chains[source.index];
    let _once = store.lock_blocking(&format!("chain:{chain}"));
    let diff = &source.document.rootfs.diff_ids[source.index];
    if let Some(layer) = store.layer(chain)? {
        if store.has_archive(&layer) {
            return Ok(());
        }
        // Its files are here, and its archive was lost.
        if source.blob != diff {
            let mut hash = Sha256::new();
            hako_layers::inflate(source.archive, &mut hash)?;
            is_diff(&Digest::from_sha256(<[u8; 32]>::from(hash.finalize())), diff, source.index)?;
        }
        keep()?;
        return Ok(store.put_archive(chain, source.blob, source.media_type)?);
    }
    let tmp = store.temp_dir()?;
    let dir = tmp.path().join("layer");
    std::fs::create_dir(&dir)?;
    let size = unpack(source.archive, &dir, source.blob, diff, source.index, progress)?;
    keep()?;
    store.commit_layer(
        &dir,
        &NewLayer {
            chain,
            parent: source.index.checked_sub(1).map(|below| &source.chains[below]),
            diff,
            size,
            blob: Some(source.blob),
            media_type: Some(source.media_type),
        },
    )?;
    Ok(())
}

fn unpack(
    archive: File,
    dir: &Path,
    blob: &Digest,
    diff: &Digest,
    index: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64> {
    // A plain tar has its own digest, which was verified when it came.
    if blob == diff {
        let size = hako_layers::unpack_verified(Watched { archive, done: 0, progress }, dir)?;
        return Ok(size);
    }
    let unpacked = hako_layers::unpack(archive, dir, progress)?;
    is_diff(&unpacked.diff_id, diff, index)?;
    Ok(unpacked.size)
}

fn is_diff(actual: &Digest, diff: &Digest, index: usize) -> Result<()> {
    if actual == diff {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid diffID for layer {index}: expected \"{diff}\", got \"{actual}\"")))
}

struct Watched<'a> {
    archive: File,
    done: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl std::io::Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.archive.read(buf)?;
        self.done += n as u64;
        (self.progress)(self.done);
        Ok(n)
    }
}

/// A manifest or index that an image keeps: its bytes, digest and media type.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub media_type: String,
}

/// Makes an image visible with its names: its config and what it keeps are
/// written first, then everything appears in one transaction. Blocks. Its
/// layers must be installed and leased.
pub(super) fn install_image(
    store: &Store,
    lease: &mut Lease,
    config: &[u8],
    document: &Document,
    kept: &[Kept],
    refs: Vec<NewRef>,
) -> Result<Digest> {
    let id = super::document::digest_of(config);
    lease.hold(&id);
    store.put_blob(config, Some(&id))?;
    for item in kept {
        lease.hold(&item.digest);
        store.put_blob(&item.bytes, Some(&item.digest))?;
    }
    let (image, _) = new_image(store, &id, document)?;
    let blobs = kept.iter().map(|item| (item.digest.clone(), item.media_type.clone())).collect();
    store.put_image(&NewImage { blobs, refs, ..image })?;
    Ok(id)
}

/// [`install_image`] for a step of a build, which only the build cache needs.
pub(super) fn install_step(
    store: &Store,
    lease: &mut Lease,
    config: &[u8],
    document: &Document,
    has_layer: bool,
    step: NewStep,
) -> Result<Digest> {
    let id = super::document::digest_of(config);
    lease.hold(&id);
    store.put_blob(config, Some(&id))?;
    let (image, top) = new_image(store, &id, document)?;
    let size = if has_layer { top } else { 0 };
    store.put_step(&image, &NewStep { size, ..step })?;
    Ok(id)
}

/// The row of an image whose layers are there, without names; also its top layer's size.
fn new_image(store: &Store, id: &Digest, document: &Document) -> Result<(NewImage, u64)> {
    let chains = document.chains();
    let (mut size, mut top) = (0, 0);
    for chain in &chains {
        let layer = store.layer(chain)?;
        top = layer.ok_or_else(|| Error::internal(format!("layer {chain} is not in the store")))?.size;
        size += top;
    }
    let image = NewImage {
        id: id.clone(),
        size,
        created: document.created.clone(),
        os: document.os.clone(),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        chains,
        blobs: Vec::new(),
        refs: Vec::new(),
    };
    Ok((image, top))
}

impl ImageService {
    /// Runs blocking work of the store on a thread for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        run_blocking(move || work(&store)).await
    }
}

/// [`run_blocking`] for work that takes as long as a client likes: on a thread
/// of its own, not on the pool that all share.
pub(super) async fn run_apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, end) = oneshot::channel();
    std::thread::Builder::new().name("images".into()).spawn(move || {
        // Whoever waits may have gone.
        let _ = done.send(work());
    })?;
    end.await.map_err(|_| Error::internal("work on images broke off"))?
}

/// Runs blocking work; a panic in it is an error here.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(err) => Err(Error::internal(format!("work on images broke off: {err}"))),
    }
}
