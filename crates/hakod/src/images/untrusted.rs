//! The readers of untrusted bytes, for the fuzz targets.

use super::{Document, load::load_blocking, progress::Lines};
use hako_model::Digest;
use hako_store::Store;

/// Reads an image's config; its chain ids.
#[must_use]
pub fn config(bytes: &[u8]) -> Option<Vec<Digest>> {
    Document::parse(bytes).ok().map(|document| document.chains())
}

/// Loads an archive of images; the images' ids.
///
/// # Errors
/// What is wrong with the archive.
pub fn load(store: &Store, archive: &[u8]) -> hako_model::Result<Vec<Digest>> {
    load_blocking(store, archive, true, None, &Lines::none())
}
