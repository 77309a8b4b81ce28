//! What a push of an image sends, found or made in the store:
//!
//! ```text
//! the index that the name came with ── if every image of it is here, whole
//! the manifest that the image came with ── as it came, so that its digest stays
//! else: a manifest of Docker's schema 2, made once and kept with its packed layers
//! ```
//! A layer that was here before its image was pulled is here as it was packed
//! then, and not as the image's manifest names it. The registry may have what
//! that names, or take it from another repository; if it does not, the
//! manifest is of no use there, and the next one is taken.

use super::{
    document::{Document, digest_of},
    install::Kept,
    names,
    pack::Packer,
    platform::Wanted,
    progress::Lines,
};
use hako_model::{Digest, Error, Result};
use hako_registry::{Descriptor, MAX_CONFIG, MAX_MANIFEST, parse_index, parse_manifest};
use hako_store::{Lease, RefRow, Store};
use serde::Serialize;
use serde_json::json;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What is sent. Everything of it is leased by who asked for it.
#[derive(Default)]
pub(super) struct Parcel {
    /// Layers, each once, the top first as Docker tells of them.
    pub pieces: Vec<Piece>,
    pub configs: Vec<Descriptor>,
    /// Manifests; the last one, which may be their index, gets the tag.
    pub documents: Vec<Kept>,
    /// The images that are sent, with their manifests.
    pub images: Vec<(Digest, Digest)>,
}

/// One layer.
#[derive(Clone)]
pub(super) struct Piece {
    pub descriptor: Descriptor,
    /// Whether it is here, and not only in registries.
    pub held: bool,
    /// By which clients know it: of the unpacked layer's digest.
    pub id: String,
}

/// Where it comes from.
pub(super) struct Origin<'a> {
    /// Layers that are not here are of no use.
    pub all_held: bool,
    pub store: &'a Store,
    pub packer: &'a Packer,
    pub lines: &'a Lines,
}

impl Origin<'_> {
    /// What the name that leads to `rows` is pushed as. Blocks, and where a
    /// layer is to be packed for long.
    pub fn parcel(&self, lease: &mut Lease, rows: &[RefRow], platform: Option<&Wanted>) -> Result<Parcel> {
        let row = self.choose(rows, platform)?;
        if platform.is_none()
            && let Some(index) = row.target.as_ref().filter(|target| row.manifest.as_ref() != Some(target))
            && let Some(parcel) = self.index(lease, index, rows)?
        {
            return Ok(parcel);
        }
        let kept = self.store.kept(&row.image)?;
        let own = row.manifest.iter().flat_map(|own| kept.iter().filter(move |(digest, _)| digest == own));
        let others =
            kept.iter().filter(|(_, media_type)| matches!(media_type.as_str(), DOCKER_MANIFEST | OCI_MANIFEST));
        for (digest, media_type) in own.chain(others) {
            let mut parcel = Parcel::default();
            let strict = self.all_held || row.manifest.as_ref() != Some(digest);
            if self.manifest(lease, &mut parcel, &row.image, digest, media_type)?
                && !(strict && parcel.pieces.iter().any(|piece| !piece.held))
            {
                return Ok(parcel);
            }
        }
        self.make(lease, &row.image)
    }

    fn choose<'r>(&self, rows: &'r [RefRow], platform: Option<&Wanted>) -> Result<&'r RefRow> {
        let first = rows.first().ok_or_else(|| Error::internal("nothing to push"))?;
        let Some(platform) = platform else { return Ok(first) };
        let mut best: Option<(u32, &RefRow)> = None;
        for row in rows {
            let image = self.store.image(&row.image)?;
            let rate = image.map(|image| platform.rate(self.store, &image)).transpose()?.flatten();
            if let Some(rate) = rate.filter(|rate| best.is_none_or(|(best, _)| *rate > best)) {
                best = Some((rate, row));
            }
        }
        best.map(|(_, row)| row).ok_or_else(|| {
            let name = names::familiar(&first.name);
            Error::not_found(format!("image with reference {name} has no image for platform {platform} here"))
        })
    }

    /// An index with all of its images, or `None` where one of them is not here.
    fn index(&self, lease: &mut Lease, digest: &Digest, rows: &[RefRow]) -> Result<Option<Parcel>> {
        let Some(bytes) = self.document(lease, digest)? else { return Ok(None) };
        let media_type = media_type_of(&bytes);
        let Some(entries) = parse_index(&bytes, &media_type)? else { return Ok(None) };
        let mut parcel = Parcel::default();
        for entry in &entries {
            let child = &entry.descriptor;
            let Some(row) = rows.iter().find(|row| row.manifest.as_ref() == Some(&child.digest)) else {
                return Ok(None);
            };
            if !self.manifest(lease, &mut parcel, &row.image, &child.digest, &child.media_type)? {
                return Ok(None);
            }
        }
        parcel.documents.push(Kept { bytes, digest: digest.clone(), media_type });
        let lacks = self.all_held && parcel.pieces.iter().any(|piece| !piece.held);
        Ok(if entries.is_empty() || lacks { None } else { Some(parcel) })
    }

    /// Adds a manifest with its config and layers; whether all of it is here.
    fn manifest(
        &self,
        lease: &mut Lease,
        parcel: &mut Parcel,
        image: &Digest,
        digest: &Digest,
        media_type: &str,
    ) -> Result<bool> {
        let Some(bytes) = self.document(lease, digest)? else { return Ok(false) };
        let manifest = parse_manifest(&bytes, media_type)?;
        let mut held = |descriptor: &Descriptor| {
            lease.hold(&descriptor.digest);
            self.store.has_blob(&descriptor.digest)
        };
        if !held(&manifest.config) {
            return Ok(false);
        }
        let held: Vec<bool> = manifest.layers.iter().map(held).collect();
        let config = Document::stored(&self.store.read_blob(&manifest.config.digest, MAX_CONFIG)?)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Ok(false);
        }
        let layers = manifest.layers.into_iter().zip(&config.rootfs.diff_ids).zip(held);
        parcel.add(layers.map(|((descriptor, diff), held)| Piece { descriptor, held, id: diff.short().to_owned() }));
        parcel.configs.push(manifest.config);
        parcel.images.push((image.clone(), digest.clone()));
        parcel.documents.push(Kept { bytes, digest: digest.clone(), media_type: manifest.media_type });
        Ok(true)
    }

    fn document(&self, lease: &mut Lease, digest: &Digest) -> Result<Option<Vec<u8>>> {
        lease.hold(digest);
        if !self.store.has_blob(digest) {
            return Ok(None);
        }
        Ok(Some(self.store.read_blob(digest, MAX_MANIFEST)?))
    }

    /// Makes the manifest of an image that came without one, and lets the
    /// image keep it: every push of it is the same from now on.
    fn make(&self, lease: &mut Lease, image: &Digest) -> Result<Parcel> {
        lease.hold(image);
        let size = self.store.open_blob(image)?.metadata()?.len();
        let mut layers = Vec::new();
        for layer in self.store.image_layers(image)? {
            let (descriptor, packed) = self.packer.packed(self.store, lease, &layer, self.lines)?;
            layers.push((descriptor, packed, layer.diff.short().to_owned()));
        }
        // Docker's own, which says all that Docker's configs say, where it can name every layer.
        let oci = layers.iter().any(|(_, packed, _)| *packed == super::pack::Packed::Zstd);
        let (kind, config_type) = if oci { (OCI_MANIFEST, OCI_CONFIG) } else { (DOCKER_MANIFEST, DOCKER_CONFIG) };
        let named = |(mut descriptor, packed, id): (Descriptor, super::pack::Packed, String)| {
            packed.media_type(oci).clone_into(&mut descriptor.media_type);
            Piece { descriptor, held: true, id }
        };
        let pieces: Vec<Piece> = layers.into_iter().map(named).collect();
        let config = Descriptor { media_type: config_type.to_owned(), digest: image.clone(), size };
        let bytes = pretty(&json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": config,
            "layers": pieces.iter().map(|piece| &piece.descriptor).collect::<Vec<_>>(),
        }))?;
        let digest = digest_of(&bytes);
        lease.hold(&digest);
        self.store.put_blob(&bytes, Some(&digest))?;
        let packed = pieces.iter().map(|p| (p.descriptor.digest.clone(), p.descriptor.media_type.clone()));
        let kept: Vec<_> = packed.chain([(digest.clone(), kind.to_owned())]).collect();
        self.store.keep(image, &kept, &[])?;
        let mut parcel = Parcel { configs: vec![config], ..Parcel::default() };
        parcel.add(pieces.into_iter());
        parcel.images.push((image.clone(), digest.clone()));
        parcel.documents.push(Kept { bytes, digest, media_type: kind.to_owned() });
        Ok(parcel)
    }
}

impl Parcel {
    fn add(&mut self, layers: impl DoubleEndedIterator<Item = Piece>) {
        for piece in layers.rev() {
            if !self.pieces.iter().any(|known| known.descriptor.digest == piece.descriptor.digest) {
                self.pieces.push(piece);
            }
        }
    }
}

/// Indented as Docker's manifests are.
fn pretty(value: &serde_json::Value) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|err| Error::internal(err.to_string()))?;
    Ok(bytes)
}

/// What an index calls itself; OCI's need not.
fn media_type_of(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let named = value.get("mediaType").and_then(|t| t.as_str());
    named.unwrap_or("application/vnd.oci.image.index.v1+json").to_owned()
}
