//! What volumes take on the disk: for `GET /system/df`.

use super::{all, api::size, references};
use crate::Engine;
use hako_api::types::{Volume, VolumeUsage};
use hako_model::Result;

/// Every volume that has no device of its own, with who has it and what it takes.
///
/// # Errors
/// The store's.
pub async fn usage(engine: &Engine) -> Result<Vec<Volume>> {
    let mut volumes = Vec::new();
    for found in all(engine).await? {
        if found.about.options.as_ref().is_some_and(|options| !options.is_empty()) {
            continue;
        }
        let users = references(engine, &found.name).len();
        let usage =
            VolumeUsage { ref_count: i64::try_from(users).unwrap_or(i64::MAX), size: size(engine, &found.name).await };
        volumes.push(Volume { usage_data: Some(usage), ..found.shown(&engine.store) });
    }
    Ok(volumes)
}
