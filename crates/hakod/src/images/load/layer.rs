//! The layers of an image in an archive.

use crate::images::{
    Document,
    archive::{Archive, Part},
    install::{LayerSource, install_layer_keeping},
    progress::{Lines, Meter},
};
use hako_layers::Compression;
use hako_model::{Digest, Result};
use hako_store::{Lease, Store};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Brings every layer into the store, unpacked, bottom first. Those that are
/// there already are not read. Blocks.
pub(super) fn load_all(
    store: &Store,
    archive: &mut Archive,
    layers: &[(String, String)],
    document: &Document,
    lease: &mut Lease,
    lines: &Lines,
) -> Result<()> {
    let chains = document.chains();
    for (index, (name, media_type)) in layers.iter().enumerate() {
        let mut part = archive.open(name)?;
        let diff = &document.rootfs.diff_ids[index];
        lease.hold(&chains[index]);
        lease.hold(&part.digest);
        if store.layer(&chains[index])?.is_some_and(|layer| store.has_archive(&layer)) {
            continue;
        }
        let mut media_type = media_type.clone();
        let mut made = None;
        match kind(&part, diff)? {
            // No registry and no other engine takes these: kept without their compression.
            Some(Compression::Bzip2 | Compression::Xz) => {
                lease.hold(diff);
                let mut blob = store.write_blob(Some(diff), None)?;
                hako_layers::inflate(part.file, &mut blob)?;
                let blob = blob.finish()?;
                part = Part { digest: diff.clone(), size: blob.size(), file: blob.open()? };
                OCI_LAYER.clone_into(&mut media_type);
                made = Some(blob);
            }
            Some(kind) if media_type.is_empty() => media_type = type_of(kind),
            None if media_type.is_empty() => OCI_LAYER.clone_into(&mut media_type),
            _ => {}
        }
        let meter = Mutex::new(Meter::new(lines, "Loading layer", diff.short(), part.size));
        let source = LayerSource {
            archive: part.file,
            blob: &part.digest,
            media_type: &media_type,
            index,
            document,
            chains: &chains,
        };
        let progress = |done| meter.lock().unwrap_or_else(PoisonError::into_inner).at(done);
        install_layer_keeping(store, source, &progress, || match made {
            Some(blob) => Ok(blob.commit()?),
            None => archive.keep(name),
        })?;
    }
    Ok(())
}

/// How a layer is compressed; `None` for one that is the plain tar of its config.
fn kind(part: &Part, diff: &Digest) -> Result<Option<Compression>> {
    if part.digest == *diff { Ok(None) } else { Ok(Some(Compression::detect(&start(&part.file)?))) }
}

fn start(file: &File) -> Result<Vec<u8>> {
    let mut start = vec![0; 8];
    let mut len = 0;
    while len < start.len() {
        match file.read_at(&mut start[len..], len as u64)? {
            0 => break,
            n => len += n,
        }
    }
    start.truncate(len);
    Ok(start)
}

fn type_of(kind: Compression) -> String {
    let suffix = match kind {
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
        Compression::Plain | Compression::Bzip2 | Compression::Xz => "",
    };
    format!("{OCI_LAYER}{suffix}")
}
