//! Layers' archives as registries want them: what lies plain in the store is
//! packed with gzip once, and the packed archive kept beside it.

use super::progress::{Lines, Meter};
use flate2::{Compression, write::GzEncoder};
use hako_model::{Digest, Error, Result};
use hako_registry::Descriptor;
use hako_store::{LayerRow, Lease, Store};
use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, Write},
    sync::{Mutex, PoisonError},
};

const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Gzip,
    /// Which Docker's own manifests have no word for.
    Zstd,
}

impl Packed {
    /// The media type of a layer, in an OCI manifest or in Docker's.
    pub fn media_type(self, oci: bool) -> &'static str {
        match (self, oci) {
            (Self::Gzip, false) => DOCKER_GZIP,
            (Self::Gzip, true) => OCI_GZIP,
            (Self::Zstd, _) => OCI_ZSTD,
        }
    }
}

/// What was packed since the engine began, so that images with the same layer
/// do not each pack it: plain digest → packed digest and size. It may be
/// forgotten at any time, for the same bytes come of packing again.
#[derive(Debug, Default)]
pub(super) struct Packer(Mutex<HashMap<Digest, (Digest, u64)>>);

impl Packer {
    /// The archive of a layer, packed and leased. Blocks.
    pub fn packed(
        &self,
        store: &Store,
        lease: &mut Lease,
        layer: &LayerRow,
        lines: &Lines,
    ) -> Result<(Descriptor, Packed)> {
        let gone = || Error::internal(format!("the archive of layer {} is not in the store", layer.chain));
        let blob = layer.blob.as_ref().ok_or_else(gone)?;
        lease.hold(blob);
        let mut file = store.open_blob(blob)?;
        let size = file.metadata()?.len();
        let whole = |packed: Packed| Ok((descriptor(blob.clone(), size), packed));
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut head)?;
        if head.starts_with(GZIP) {
            return whole(Packed::Gzip);
        }
        if head.starts_with(ZSTD) {
            return whole(Packed::Zstd);
        }
        file.rewind()?;
        let _once = store.lock_blocking(&format!("pack:{blob}"));
        if let Some((digest, size)) = self.known(blob) {
            lease.hold(&digest);
            if store.has_blob(&digest) {
                return Ok((descriptor(digest, size), Packed::Gzip));
            }
        }
        let mut meter = Meter::new(lines, "Compressing", layer.diff.short(), size);
        let (digest, size) = gzip(store, lease, file, &mut meter, lines)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.clone(), (digest.clone(), size));
        Ok((descriptor(digest, size), Packed::Gzip))
    }

    fn known(&self, plain: &Digest) -> Option<(Digest, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(plain).cloned()
    }
}

fn descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor { media_type: String::new(), digest, size }
}

fn gzip(store: &Store, lease: &mut Lease, mut plain: File, meter: &mut Meter, lines: &Lines) -> Result<(Digest, u64)> {
    let mut encoder = GzEncoder::new(store.write_blob(None, None)?, Compression::default());
    let (mut buffer, mut done) = (vec![0; 256 << 10], 0);
    loop {
        let count = plain.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        // Packing a large layer for nobody is not worth it.
        lines.check_listener()?;
        encoder.write_all(&buffer[..count])?;
        done += count as u64;
        meter.at(done);
    }
    let blob = encoder.finish()?.finish()?;
    let (digest, size) = (blob.digest().clone(), blob.size());
    lease.hold(&digest);
    blob.commit()?;
    Ok((digest, size))
}
