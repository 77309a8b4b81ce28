//! What an archive of images has in it, decided before its first byte goes out.

use super::{Picked, manifest};
use hako_model::{Digest, Result};
use hako_store::{Lease, Store};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A file below `blobs/`.
pub(super) enum Blob {
    /// In the store, of this size.
    Stored(u64),
    /// Made for this archive.
    Made(Vec<u8>),
}

/// The archive's files.
pub(super) struct Contents {
    /// In the order of their names, as are all others.
    pub blobs: BTreeMap<Digest, Blob>,
    pub documents: Vec<(&'static str, Vec<u8>)>,
    /// Nothing of it is collected until it is written.
    _lease: Lease,
}

/// The name of a blob in the archive.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The documents while images are added.
#[derive(Default)]
struct Documents {
    index: Vec<Value>,
    manifest: Vec<Value>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl Contents {
    /// Looks up everything that the images need.
    pub fn collect(store: &Store, picked: &[Picked]) -> Result<Self> {
        let mut lease = store.lease();
        let mut blobs = BTreeMap::new();
        let mut documents = Documents::default();
        for image in picked {
            add(store, image, &mut lease, &mut blobs, &mut documents)?;
        }
        let text = |value: &Value| value.to_string().into_bytes();
        let mut files = vec![
            (
                "index.json",
                text(&json!({
                    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                    "manifests": documents.index,
                })),
            ),
            ("manifest.json", text(&Value::Array(documents.manifest))),
            ("oci-layout", text(&json!({ "imageLayoutVersion": "1.0.0" }))),
        ];
        if !documents.repositories.is_empty() {
            files.push(("repositories", text(&json!(documents.repositories))));
        }
        Ok(Self { blobs, documents: files, _lease: lease })
    }
}

fn add(
    store: &Store,
    picked: &Picked,
    lease: &mut Lease,
    blobs: &mut BTreeMap<Digest, Blob>,
    documents: &mut Documents,
) -> Result<()> {
    let id = &picked.id;
    lease.hold(id);
    let config = store.blob_size(id)?;
    blobs.insert(id.clone(), Blob::Stored(config));
    let layers = manifest::layers(store, id, lease)?;
    for layer in &layers {
        blobs.insert(layer.blob.clone(), Blob::Stored(layer.size));
    }
    let manifest = manifest::of(store, id, config, &layers, lease)?;
    let descriptor =
        json!({ "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.bytes.len() });
    blobs.insert(manifest.digest, Blob::Made(manifest.bytes));
    let mut names = Vec::new();
    for tag in &picked.tags {
        let mut named = descriptor.clone();
        named["annotations"] =
            json!({ "io.containerd.image.name": tag.key(), "org.opencontainers.image.ref.name": tag.target() });
        documents.index.push(named);
        names.push(tag.familiar());
        if let Some(top) = layers.last() {
            let tags = documents.repositories.entry(tag.repository.familiar()).or_default();
            tags.insert(tag.target().to_owned(), top.diff.hex().to_owned());
        }
    }
    if names.is_empty() {
        documents.index.push(descriptor);
    }
    let sources: Map<String, Value> = layers.iter().map(|l| (l.diff.to_string(), l.descriptor())).collect();
    documents.manifest.push(json!({
        "Config": blob_name(id),
        "RepoTags": if names.is_empty() { Value::Null } else { json!(names) },
        "Layers": layers.iter().map(|layer| blob_name(&layer.blob)).collect::<Vec<_>>(),
        "LayerSources": sources,
    }));
    Ok(())
}
