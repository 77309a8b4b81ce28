//! What a reference leads to, without its content: for `GET /distribution/…`.

use crate::{Descriptor, Offered, Result, Session, parse_index, parse_manifest};
use hako_model::Reference;

/// A manifest or index, and what it is for.
#[derive(Debug, Clone)]
pub struct Described {
    /// The document that the registry answered with.
    pub descriptor: Descriptor,
    /// The platforms of an index, or of the one image.
    pub platforms: Vec<Offered>,
}

impl Session {
    /// Asks for a reference's document, and for the config of a single image:
    /// nothing else says what that is for.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn describe(&self, reference: &Reference) -> Result<Described> {
        let document = self.document(reference.target(), reference.digest.as_ref(), &reference.familiar()).await?;
        let index = parse_index(&document.bytes, &document.media_type)?;
        let platforms = match index {
            Some(entries) => entries.into_iter().filter_map(|entry| entry.platform).collect(),
            None => {
                let manifest = parse_manifest(&document.bytes, &document.media_type)?;
                let config = self.small_blob(&manifest.config).await?;
                let offered: Option<Offered> = serde_json::from_slice(&config).ok();
                let named = |one: &Offered| !one.platform.os.is_empty() && !one.platform.architecture.is_empty();
                offered.into_iter().filter(named).collect()
            }
        };
        let descriptor =
            Descriptor { media_type: document.media_type, digest: document.digest, size: document.bytes.len() as u64 };
        Ok(Described { descriptor, platforms })
    }
}
