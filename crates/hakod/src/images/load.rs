//! `POST /images/load`: docker-archives and OCI layouts.
//!
//! An archive is read once, in whatever order its parts come: each file goes
//! into a temporary blob while its digest is computed. What it is and what of
//! it is used is decided when all is there. Names in it lead to those blobs
//! and nowhere else.

use super::{
    Document, ImageEvent, ImageService, JsonLines,
    archive::Archive,
    document::digest_of,
    install::{Kept, LayerSource, install_image, install_layer, run_blocking},
    progress::{Lines, Meter},
};
use hako_model::{Digest, Error, Reference, Result};
use hako_registry::{IndexEntry, Platform};
use hako_store::{NewRef, Store};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashMap,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::io::AsyncRead;

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// How long the rest of a refused archive is read.
const DRAIN: Duration = Duration::from_secs(30);
/// Indexes within indexes are followed this deep.
const DEPTH: usize = 4;

/// An image in an archive, wherever it was described.
struct Described {
    config: String,
    /// Names of files in the archive with their media types, bottom first.
    layers: Vec<(String, String)>,
    kept: Vec<Kept>,
    tags: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl ImageService {
    pub(super) async fn load_inner(
        self: &Arc<Self>,
        body: impl AsyncRead + Send + Unpin + 'static,
        quiet: bool,
    ) -> Result<JsonLines> {
        let service = self.clone();
        self.stream(move |lines| async move {
            let mut bridge = tokio_util::io::SyncIoBridge::new(body);
            let store = service.store.clone();
            let loaded = run_blocking(move || {
                let loaded = load_blocking(&store, &mut bridge, quiet, &lines);
                if loaded.is_err() {
                    drain(&mut bridge);
                }
                loaded
            })
            .await?;
            for id in loaded {
                let attributes = HashMap::from([("name".to_owned(), id.to_string())]);
                service.tell(ImageEvent { action: "load", id: id.to_string(), attributes });
            }
            Ok(())
        })
        .await
    }
}

/// Reads on for a while after a failure: a client that still sends would see
/// a broken connection instead of the reason.
fn drain(body: &mut impl Read) {
    let (start, mut buffer) = (Instant::now(), vec![0; 256 << 10]);
    while start.elapsed() < DRAIN && matches!(body.read(&mut buffer), Ok(n) if n > 0) {}
}

/// Loads every image of an archive; their ids. Blocks.
pub(super) fn load_blocking(
    store: &Store,
    reader: impl Read + Send,
    quiet: bool,
    lines: &Lines,
) -> Result<Vec<Digest>> {
    let mut archive = Archive::read(store, reader)?;
    let images = if archive.has("manifest.json") {
        docker_archive(&archive)?
    } else if archive.has("index.json") {
        oci_layout(&archive)?
    } else {
        return Err(Error::invalid("invalid archive: it has neither manifest.json nor index.json"));
    };
    if images.is_empty() {
        return Err(Error::invalid("invalid archive: its manifest names no image"));
    }
    let mut ids = Vec::new();
    for image in images {
        let tags: Vec<String> = image.tags.iter().map(Reference::familiar).collect();
        let id = load_image(store, &mut archive, image, quiet, lines)?;
        if tags.is_empty() {
            lines.send_blocking(json!({ "stream": format!("Loaded image ID: {id}\n") }))?;
        }
        for tag in tags {
            lines.send_blocking(json!({ "stream": format!("Loaded image: {tag}\n") }))?;
        }
        ids.push(id);
    }
    Ok(ids)
}

fn load_image(store: &Store, archive: &mut Archive, image: Described, quiet: bool, lines: &Lines) -> Result<Digest> {
    let config = archive.read_file(&image.config, hako_registry::MAX_CONFIG)?;
    let document = Document::parse(&config)?;
    let (layers, diffs) = (image.layers.len(), document.rootfs.diff_ids.len());
    if layers != diffs {
        return Err(Error::invalid(format!(
            "invalid manifest, layers length mismatch: expected {diffs}, got {layers}"
        )));
    }
    let chains = document.chains();
    let mut lease = store.lease();
    for (index, (name, media_type)) in image.layers.iter().enumerate() {
        let part = archive.open(name)?;
        lease.hold(&chains[index]);
        lease.hold(&part.digest);
        if store.layer(&chains[index])?.is_some() {
            continue;
        }
        let shown = document.rootfs.diff_ids[index].short();
        let listener = if quiet { Lines::none() } else { lines.clone() };
        let meter = Mutex::new(Meter::new(&listener, "Loading layer", shown, part.size));
        let source = LayerSource {
            archive: part.file,
            blob: &part.digest,
            media_type,
            index,
            document: &document,
            chains: &chains,
        };
        install_layer(store, source, &|done| meter.lock().unwrap_or_else(PoisonError::into_inner).at(done))?;
        // After the layer: its sync has written these bytes out already.
        archive.keep(name)?;
    }
    let manifest = image.kept.first().map(|kept| kept.digest.clone());
    let new = |tag: &Reference| NewRef { name: tag.key(), target: manifest.clone(), manifest: manifest.clone() };
    let refs = image.tags.iter().map(new).collect();
    install_image(store, &mut lease, &config, &document, &image.kept, refs)
}

fn docker_archive(archive: &Archive) -> Result<Vec<Described>> {
    let bytes = archive.read_file("manifest.json", hako_registry::MAX_MANIFEST)?;
    let entries: Vec<ManifestEntry> =
        serde_json::from_slice(&bytes).map_err(|err| Error::invalid(format!("invalid manifest.json: {err}")))?;
    entries
        .into_iter()
        .map(|entry| {
            let layers = entry.layers.unwrap_or_default();
            if layers.len() > hako_registry::MAX_LAYERS {
                return Err(Error::invalid(format!("max depth exceeded: {} layers", layers.len())));
            }
            let tags = entry.repo_tags.unwrap_or_default();
            let tags = tags.iter().map(|tag| tagged(tag)).collect::<Result<_>>()?;
            let layers = layers.into_iter().map(|name| (name, OCI_LAYER.to_owned())).collect();
            Ok(Described { config: entry.config, layers, kept: Vec::new(), tags })
        })
        .collect()
}

fn tagged(text: &str) -> Result<Reference> {
    let reference = Reference::parse(text).map_err(|err| err.context(format!("invalid tag {text:?}")))?;
    if reference.digest.is_some() {
        return Err(Error::invalid(format!("invalid tag {text:?}")));
    }
    Ok(reference.with_default_tag())
}

fn oci_layout(archive: &Archive) -> Result<Vec<Described>> {
    let bytes = archive.read_file("index.json", hako_registry::MAX_MANIFEST)?;
    let entries = hako_registry::parse_index(&bytes, "application/vnd.oci.image.index.v1+json")?.unwrap_or_default();
    let mut images: Vec<(Digest, Described)> = Vec::new();
    for entry in &entries {
        let tags: Vec<Reference> = name_of(entry).map(|name| tagged(&name)).transpose()?.into_iter().collect();
        let described = describe(archive, entry, DEPTH)?;
        let digest = entry.descriptor.digest.clone();
        // One image under several names has one entry for each.
        match images.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, known)) => known.tags.extend(tags),
            None => images.push((digest, Described { tags, ..described })),
        }
    }
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

/// containerd's whole name, or else a reference in OCI's own annotation: that
/// one may also be a bare tag, which alone names nothing.
fn name_of(entry: &IndexEntry) -> Option<String> {
    let annotations = entry.annotations.as_ref()?;
    if let Some(name) = annotations.get("io.containerd.image.name") {
        return Some(name.clone());
    }
    let name = annotations.get("org.opencontainers.image.ref.name")?;
    name.contains([':', '/']).then(|| name.clone())
}

fn describe(archive: &Archive, entry: &IndexEntry, depth: usize) -> Result<Described> {
    let digest = &entry.descriptor.digest;
    let bytes = archive.read_file(&blob_name(digest), hako_registry::MAX_MANIFEST)?;
    if digest_of(&bytes) != *digest {
        return Err(Error::invalid(format!("manifest {digest} does not match its digest")));
    }
    if let Some(children) = hako_registry::parse_index(&bytes, &entry.descriptor.media_type)? {
        if depth == 0 {
            return Err(Error::invalid("indexes are nested too deep"));
        }
        let child = choose(archive, &children)?;
        let mut described = describe(archive, child, depth - 1)?;
        let media_type = entry.descriptor.media_type.clone();
        described.kept.push(Kept { bytes, digest: digest.clone(), media_type });
        return Ok(described);
    }
    let manifest = hako_registry::parse_manifest(&bytes, &entry.descriptor.media_type)?;
    let layers = manifest.layers.iter().map(|l| (blob_name(&l.digest), l.media_type.clone())).collect();
    Ok(Described {
        config: blob_name(&manifest.config.digest),
        layers,
        kept: vec![Kept { bytes, digest: digest.clone(), media_type: manifest.media_type }],
        tags: Vec::new(),
    })
}

/// The entry for this host; without one, the first that the archive holds.
fn choose<'a>(archive: &Archive, entries: &'a [IndexEntry]) -> Result<&'a IndexEntry> {
    let held: Vec<IndexEntry> =
        entries.iter().filter(|e| archive.has(&blob_name(&e.descriptor.digest))).cloned().collect();
    let chosen = match hako_registry::select(&held, &Platform::host()) {
        Ok(entry) => entry.descriptor.digest.clone(),
        Err(err) => match held.iter().find(|e| e.platform.as_ref().is_none_or(|p| p.os != "unknown")) {
            Some(entry) => entry.descriptor.digest.clone(),
            None => return Err(err.into()),
        },
    };
    let entry = entries.iter().find(|e| e.descriptor.digest == chosen);
    entry.ok_or_else(|| Error::internal("the chosen manifest is gone"))
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
