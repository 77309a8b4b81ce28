//! What images an archive has, by its own account: `manifest.json` of a
//! docker-archive or `index.json` of an OCI layout. An archive that has both
//! goes by the first, as in Docker, and keeps the manifests of the second.

use crate::images::{archive::Archive, document::digest_of, install::Kept, platform::Wanted};
use hako_model::{Digest, Error, Reference, Result};
use hako_registry::{IndexEntry, Platform};
use serde::Deserialize;

/// Indexes within indexes are followed this deep.
const DEPTH: usize = 4;
/// The manifests and indexes of one archive that are kept in memory, together.
const MAX_KEPT: usize = 64 << 20;
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image in an archive, wherever it was described.
pub(super) struct Described {
    pub config: String,
    /// Names of files in the archive with their media types, bottom first; the
    /// type is empty where the archive does not say.
    pub layers: Vec<(String, String)>,
    pub kept: Vec<Kept>,
    pub tags: Vec<Reference>,
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

/// How many bytes may still be kept.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or_else(|| {
            Error::invalid(format!("invalid archive: its manifests and indexes have more than {MAX_KEPT} bytes"))
        })?;
        Ok(())
    }
}

/// All of them, for one platform where that is asked for.
pub(super) fn images(archive: &Archive, platform: Option<&Wanted>) -> Result<Vec<Described>> {
    if archive.has("manifest.json") {
        let mut images = docker_archive(archive)?;
        // What the other half says besides is a gain, and no more than that.
        if archive.has("index.json")
            && let Ok(known) = oci_layout(archive, None)
        {
            let mut room = Room(MAX_KEPT);
            images.iter_mut().try_for_each(|image| adopt(image, &known, &mut room))?;
        }
        return Ok(images);
    }
    if archive.has("index.json") {
        return oci_layout(archive, platform);
    }
    let old = if archive.has("repositories") { ": archives of Docker before 1.10 are not read" } else { "" };
    Err(Error::invalid(format!("invalid archive: it has neither manifest.json nor index.json{old}")))
}

/// Keeps the manifest of the same config and the same layers.
fn adopt(image: &mut Described, known: &[Described], room: &mut Room) -> Result<()> {
    let same = |other: &&Described| {
        let names = |layers: &[(String, String)]| layers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        other.config == image.config && names(&other.layers) == names(&image.layers)
    };
    if let Some(other) = known.iter().find(same) {
        room.take(other.kept.iter().map(|kept| kept.bytes.len()).sum())?;
        image.kept.clone_from(&other.kept);
        image.layers.clone_from(&other.layers);
    }
    Ok(())
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
            let layers = layers.into_iter().map(|name| (name, String::new())).collect();
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

fn oci_layout(archive: &Archive, platform: Option<&Wanted>) -> Result<Vec<Described>> {
    let bytes = archive.read_file("index.json", hako_registry::MAX_MANIFEST)?;
    let entries = hako_registry::parse_index(&bytes, OCI_INDEX)?.unwrap_or_default();
    let mut images: Vec<(Digest, Described)> = Vec::new();
    let mut room = Room(MAX_KEPT);
    for entry in &entries {
        let tags: Vec<Reference> = name_of(entry).map(|name| tagged(&name)).transpose()?.into_iter().collect();
        let digest = &entry.descriptor.digest;
        // One image under several names has one entry for each.
        if let Some((_, known)) = images.iter_mut().find(|(known, _)| known == digest) {
            known.tags.extend(tags);
            continue;
        }
        let described = describe(archive, entry, platform, DEPTH, &mut room)?;
        images.push((digest.clone(), Described { tags, ..described }));
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

fn describe(
    archive: &Archive,
    entry: &IndexEntry,
    platform: Option<&Wanted>,
    depth: usize,
    room: &mut Room,
) -> Result<Described> {
    let digest = &entry.descriptor.digest;
    let bytes = archive.read_file(&blob_name(digest), hako_registry::MAX_MANIFEST)?;
    room.take(bytes.len())?;
    if digest_of(&bytes) != *digest {
        return Err(Error::invalid(format!("manifest {digest} does not match its digest")));
    }
    if let Some(children) = hako_registry::parse_index(&bytes, &entry.descriptor.media_type)? {
        if depth == 0 {
            return Err(Error::invalid("indexes are nested too deep"));
        }
        let child = choose(archive, &children, platform)?;
        let mut described = describe(archive, child, platform, depth - 1, room)?;
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

/// The entry for the platform, which must be there; where none is asked for the
/// host's, or else the first that the archive holds.
fn choose<'a>(archive: &Archive, entries: &'a [IndexEntry], platform: Option<&Wanted>) -> Result<&'a IndexEntry> {
    let version = |entry: &&IndexEntry| {
        let version = entry.platform.as_ref().and_then(|offered| offered.os_version.as_deref());
        platform.is_none_or(|wanted| wanted.admits(version.unwrap_or_default()))
    };
    let there = |entry: &&IndexEntry| archive.has(&blob_name(&entry.descriptor.digest));
    let held: Vec<IndexEntry> = entries.iter().filter(there).filter(version).cloned().collect();
    let wanted = platform.map_or_else(Platform::host, |wanted| wanted.platform.clone());
    let chosen = match hako_registry::select(&held, &wanted) {
        Ok(entry) => entry.descriptor.digest.clone(),
        Err(err) if platform.is_some() => return Err(err.into()),
        Err(err) => match held.iter().find(|e| e.platform.as_ref().is_none_or(|p| p.platform.os != "unknown")) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_limit_in_all() {
        let mut room = Room(MAX_KEPT);
        room.take(MAX_KEPT - 1).unwrap();
        room.take(1).unwrap();
        assert!(room.take(1).unwrap_err().to_string().contains("more than 67108864 bytes"));
    }
}
