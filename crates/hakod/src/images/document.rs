//! An image's config document: read leniently (unknown fields are ignored,
//! `null` is the same as absent), but what leads to content is checked.

use super::{
    ImageConfig,
    config::{null, or_default},
};
use hako_model::{Digest, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The document.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub created: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub author: String,
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub variant: String,
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    #[serde(rename = "os.version", deserialize_with = "or_default")]
    pub os_version: String,
    #[serde(rename = "os.features", deserialize_with = "or_default")]
    pub os_features: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    #[serde(deserialize_with = "or_default")]
    pub docker_version: String,
    #[serde(deserialize_with = "or_default")]
    pub config: ImageConfig,
    #[serde(deserialize_with = "or_default")]
    pub rootfs: RootFs,
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<History>,
}

/// Its `rootfs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    #[serde(deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of its making.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub created: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub created_by: String,
    #[serde(deserialize_with = "or_default")]
    pub comment: String,
    #[serde(deserialize_with = "or_default")]
    pub empty_layer: bool,
}

impl Document {
    /// Reads a config that came from outside, for whatever system: what cannot
    /// run here can be kept here.
    ///
    /// # Errors
    /// `InvalidParameter` where it is no image's config.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let invalid = |why: String| Error::invalid(format!("invalid image config: {why}"));
        let document: Self = serde_json::from_slice(bytes).map_err(|err| invalid(err.to_string()))?;
        if document.os.is_empty() || document.architecture.is_empty() {
            return Err(invalid("it names no operating system or no architecture".into()));
        }
        Ok(document)
    }

    /// Reads a config of the store, which was parsed when it came.
    ///
    /// # Errors
    /// `Internal`.
    pub fn stored(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|err| Error::internal(format!("image config in the store: {err}")))
    }

    /// Chain ids, bottom first: each names a layer and all below it.
    pub fn chains(&self) -> Vec<Digest> {
        let mut chains: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff in &self.rootfs.diff_ids {
            let chain = match chains.last() {
                None => diff.clone(),
                Some(parent) => digest_of(format!("{parent} {diff}").as_bytes()),
            };
            chains.push(chain);
        }
        chains
    }

    /// `os/architecture[/variant]`.
    pub fn platform(&self) -> hako_registry::Platform {
        hako_registry::Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// The digest of small content.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(<[u8; 32]>::from(Sha256::digest(bytes)))
}

/// Docker's `null` where there is nothing.
pub(super) fn list_or_null<T: Into<Value>>(list: Vec<T>) -> Value {
    if list.is_empty() { null() } else { Value::Array(list.into_iter().map(Into::into).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_those_of_oci() {
        let diff = |n: u8| format!("sha256:{}", hex::encode([n; 32]));
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","config":null,"rootfs":{{"type":"layers",
            "diff_ids":["{}","{}"]}},"history":null,"x":1}}"#,
            diff(1),
            diff(2)
        );
        let document = Document::parse(text.as_bytes()).unwrap();
        let chains = document.chains();
        assert_eq!(chains[0].as_str(), diff(1));
        assert_eq!(chains[1], digest_of(format!("{} {}", diff(1), diff(2)).as_bytes()));
        assert!(Document::parse(b"{}").is_err() && Document::parse(b"[]").is_err());
        assert!(Document::parse(br#"{"os":"windows","architecture":"amd64","os.version":"10.0.1"}"#).is_ok());
        assert!(Document::parse(br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["x"]}}"#).is_err());
    }
}
