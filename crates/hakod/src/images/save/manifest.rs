//! The manifest of a saved image: the one that it came with, where the store
//! still has exactly those layers, or else one that its content alone decides.

use crate::images::document::digest_of;
use hako_model::{Digest, Error, Result};
use hako_store::{Lease, Store};
use serde_json::{Value, json};

/// The media type of a config.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer's archive in the store.
pub(super) struct Layer {
    pub diff: Digest,
    pub blob: Digest,
    pub size: u64,
    media_type: String,
}

impl Layer {
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.blob, "size": self.size })
    }
}

/// A manifest with its digest.
pub(super) struct Manifest {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// The image's layers, bottom first.
pub(super) fn layers(store: &Store, id: &Digest, lease: &mut Lease) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for row in store.image_layers(id)? {
        let lost =
            || Error::internal(format!("the archive of layer {} is lost: load or pull the image again", row.diff));
        let blob = row.blob.ok_or_else(lost)?;
        lease.hold(&blob);
        let size = store.blob_size(&blob)?;
        let media_type = oci_type(row.media_type.as_deref().unwrap_or(LAYER));
        layers.push(Layer { diff: row.diff, blob, size, media_type });
    }
    Ok(layers)
}

/// The manifest for these layers.
pub(super) fn of(store: &Store, id: &Digest, config: u64, layers: &[Layer], lease: &mut Lease) -> Result<Manifest> {
    for (digest, media_type) in store.kept(id)?.into_iter().filter(|(_, media_type)| media_type.contains("manifest")) {
        lease.hold(&digest);
        let Ok(bytes) = store.read_blob(&digest, hako_registry::MAX_MANIFEST) else { continue };
        if fits(&bytes, &media_type, id, layers) {
            return Ok(Manifest { media_type, digest, bytes });
        }
    }
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": id, "size": config },
        "layers": layers.iter().map(Layer::descriptor).collect::<Vec<_>>(),
    });
    let bytes = document.to_string().into_bytes();
    Ok(Manifest { media_type: MANIFEST.to_owned(), digest: digest_of(&bytes), bytes })
}

/// Whether a document is a manifest of exactly this config and these archives.
fn fits(bytes: &[u8], media_type: &str, id: &Digest, layers: &[Layer]) -> bool {
    if !matches!(hako_registry::parse_index(bytes, media_type), Ok(None)) {
        return false;
    }
    let Ok(manifest) = hako_registry::parse_manifest(bytes, media_type) else { return false };
    manifest.config.digest == *id && manifest.layers.iter().map(|l| &l.digest).eq(layers.iter().map(|l| &l.blob))
}

/// OCI's name for a layer of Docker's.
fn oci_type(media_type: &str) -> String {
    let packed = match media_type {
        _ if media_type.ends_with("+zstd") || media_type.ends_with(".zstd") => "+zstd",
        _ if media_type.ends_with("gzip") => "+gzip",
        _ => "",
    };
    format!("{LAYER}{packed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_oci() {
        assert_eq!(oci_type("application/vnd.docker.image.rootfs.diff.tar.gzip"), format!("{LAYER}+gzip"));
        assert_eq!(oci_type("application/vnd.oci.image.layer.v1.tar+zstd"), format!("{LAYER}+zstd"));
        assert_eq!(oci_type(LAYER), LAYER);
    }

    #[test]
    fn a_manifest_of_other_archives_does_not_fit() {
        let (id, blob) = (digest_of(b"config"), digest_of(b"blob"));
        let layer = |blob: &Digest| Layer {
            diff: digest_of(b"diff"),
            blob: blob.clone(),
            size: 4,
            media_type: LAYER.to_owned(),
        };
        let document = json!({
            "schemaVersion": 2, "config": { "digest": id, "size": 6 },
            "layers": [{ "mediaType": LAYER, "digest": blob, "size": 4 }],
        })
        .to_string();
        assert!(fits(document.as_bytes(), MANIFEST, &id, &[layer(&blob)]));
        assert!(!fits(document.as_bytes(), MANIFEST, &id, &[layer(&id)]));
        assert!(!fits(document.as_bytes(), MANIFEST, &blob, &[layer(&blob)]));
        assert!(!fits(b"{", MANIFEST, &id, &[]) && !fits(br#"{"manifests":[]}"#, "", &id, &[]));
    }
}
