//! Manifests and indexes: only the fields that are used, all others ignored.

use crate::{Error, MAX_LAYERS, Platform, Result};
use hako_model::Digest;
use serde::{Deserialize, Serialize};

pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Content named by its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
}

/// An image's manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// As the registry or the document names it.
    pub media_type: String,
    /// The image's config.
    pub config: Descriptor,
    /// Its layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// What an entry of an index, or an image's config, says that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// System, architecture and variant.
    #[serde(flatten)]
    pub platform: Platform,
    /// The version of Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// `win32k` and the like.
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
}

/// One entry of an index.
#[derive(Debug, Clone, Deserialize)]
pub struct IndexEntry {
    /// The manifest.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What it is for.
    #[serde(default)]
    pub platform: Option<Offered>,
    /// Notes; OCI layouts keep names here.
    #[serde(default)]
    pub annotations: Option<std::collections::HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<IndexEntry>>,
}

fn read(bytes: &[u8], what: &str) -> Result<Document> {
    let document: Document = serde_json::from_slice(bytes).map_err(|err| Error::malformed(what, err))?;
    if document.schema_version == 1 {
        return Err(Error::Unsupported(
            "Docker image manifest version 2, schema 1 is not supported: push the image again with a current client"
                .into(),
        ));
    }
    Ok(document)
}

/// The entries of an index, or `None` where the document is a manifest.
/// `media_type` is what the registry said; the document's own word goes first.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Unsupported`].
pub fn parse_index(bytes: &[u8], media_type: &str) -> Result<Option<Vec<IndexEntry>>> {
    let document = read(bytes, "manifest")?;
    let kind = document.media_type.as_deref().unwrap_or(media_type);
    let index = match kind {
        OCI_INDEX | DOCKER_LIST => true,
        OCI_MANIFEST | DOCKER_MANIFEST => false,
        _ => document.manifests.is_some(),
    };
    Ok(if index { Some(document.manifests.unwrap_or_default()) } else { None })
}

/// An image's manifest.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Unsupported`] for what is no image.
pub fn parse_manifest(bytes: &[u8], media_type: &str) -> Result<Manifest> {
    let document = read(bytes, "manifest")?;
    let kind = document.media_type.as_deref().filter(|t| !t.is_empty()).unwrap_or(media_type);
    let kind = match kind {
        OCI_MANIFEST | DOCKER_MANIFEST => kind,
        OCI_INDEX | DOCKER_LIST => return Err(Error::Unsupported("an index within an index is not supported".into())),
        // Registries that name no type, or a general one.
        _ => OCI_MANIFEST,
    };
    let config = document.config.ok_or_else(|| Error::malformed("manifest", "it has no config"))?;
    let layers = document.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(Error::Unsupported(format!(
            "max depth exceeded: {} layers, {MAX_LAYERS} are allowed",
            layers.len()
        )));
    }
    let is_config = matches!(
        config.media_type.as_str(),
        "" | "application/vnd.docker.container.image.v1+json"
            | "application/vnd.oci.image.config.v1+json"
            | "application/octet-stream"
    );
    if !is_config {
        return Err(Error::Unsupported(format!("Encountered remote \"{}\"(unknown) when fetching", config.media_type)));
    }
    if let Some(other) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        return Err(Error::Unsupported(format!("unsupported layer media type \"{}\"", other.media_type)));
    }
    Ok(Manifest { media_type: kind.to_owned(), config, layers })
}

/// Whether a media type is a layer's.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    let base = media_type.trim_end_matches("+gzip").trim_end_matches("+zstd");
    matches!(
        base,
        "" | "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )
}

/// The entry that serves a platform best.
///
/// # Errors
/// [`Error::NoPlatform`].
pub fn select<'a>(entries: &'a [IndexEntry], platform: &Platform) -> Result<&'a IndexEntry> {
    let rated = entries.iter().filter_map(|entry| {
        let offered = entry.platform.as_ref()?;
        platform.accepts(&offered.platform).map(|rate| (rate, entry))
    });
    // Of equals the first, as Docker takes it.
    let best = rated.reduce(|best, next| if next.0 > best.0 { next } else { best });
    if let Some((_, entry)) = best {
        return Ok(entry);
    }
    // An index of one image that names no platform.
    match entries {
        [only] if only.platform.is_none() => Ok(only),
        _ => Err(Error::NoPlatform(platform.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(n: u8) -> String {
        format!(r#"{{"digest":"sha256:{}","size":1,"mediaType":"","x":1}}"#, format!("{n:02x}").repeat(32))
    }

    #[test]
    fn unknown_fields_are_ignored_and_nonsense_is_not() {
        let ok = format!(r#"{{"schemaVersion":2,"new":[1],"config":{},"layers":[{}]}}"#, d(1), d(2));
        let manifest = parse_manifest(ok.as_bytes(), "").unwrap();
        assert_eq!((manifest.layers.len(), manifest.media_type.as_str()), (1, OCI_MANIFEST));
        for bad in
            ["", "{}", "[]", "null", r#"{"schemaVersion":1}"#, r#"{"config":{"digest":"sha256:../..","size":1}}"#]
        {
            assert!(parse_manifest(bad.as_bytes(), "").is_err(), "{bad}");
        }
        let many = format!(r#"{{"config":{},"layers":[{}]}}"#, d(1), vec![d(2); 128].join(","));
        assert!(parse_manifest(many.as_bytes(), "").unwrap_err().to_string().contains("depth"));
        let helm = ok.replace(r#""mediaType":"","x":1}},"l"#, "").replacen(
            r#""mediaType":"""#,
            r#""mediaType":"application/vnd.cncf.helm.config.v1+json""#,
            1,
        );
        assert!(matches!(parse_manifest(helm.as_bytes(), ""), Err(Error::Unsupported(_))));
    }

    #[test]
    fn what_an_entry_is_for_is_kept_whole() {
        let platform =
            r#"{"os":"windows","architecture":"amd64","os.version":"10.0.17763.1","os.features":["win32k"],"x":1}"#;
        let entry = |platform: &str| {
            let d = d(1);
            format!(r#"{{"manifests":[{},"platform":{platform}}}]}}"#, &d[..d.len() - 1])
        };
        let read = |platform: &str| parse_index(entry(platform).as_bytes(), "").unwrap().unwrap().remove(0).platform;
        let offered = serde_json::to_value(read(platform)).unwrap();
        let kept = r#"{"os":"windows","architecture":"amd64","os.version":"10.0.17763.1","os.features":["win32k"]}"#;
        assert_eq!(offered, serde_json::from_str::<serde_json::Value>(kept).unwrap());
        let plain = r#"{"os":"linux","architecture":"amd64"}"#;
        let nulls = r#"{"os":"linux","architecture":"amd64","os.version":null,"os.features":null}"#;
        assert_eq!(serde_json::to_string(&read(nulls)).unwrap(), plain);
        assert!(parse_index(entry(r#"{"os":"windows","os.version":10}"#).as_bytes(), "").is_err());
    }

    #[test]
    fn an_index_is_chosen_from() {
        let entry = |n: u8, os: &str, arch: &str| {
            let d = d(n);
            format!(r#"{},"platform":{{"os":"{os}","architecture":"{arch}"}}}}"#, &d[..d.len() - 1])
        };
        let index = format!(
            r#"{{"manifests":[{},{},{}]}}"#,
            entry(1, "unknown", "unknown"),
            entry(2, "linux", "arm64"),
            entry(3, "linux", "amd64")
        );
        let entries = parse_index(index.as_bytes(), "").unwrap().unwrap();
        let pick =
            |p: &str| select(&entries, &Platform::parse(p).unwrap()).map(|e| e.descriptor.digest.hex()[..2].to_owned());
        assert_eq!(pick("linux/amd64").unwrap(), "03");
        assert_eq!(pick("linux/arm64").unwrap(), "02");
        assert!(pick("linux/s390x").unwrap_err().to_string().contains("no matching manifest for linux/s390x"));
        assert!(parse_index(br#"{"schemaVersion":2}"#, OCI_MANIFEST).unwrap().is_none());
    }
}
