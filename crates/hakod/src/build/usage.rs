//! What the build cache takes on the disk, for `GET /system/df`.

use super::mounts;
use crate::Engine;
use chrono::{DateTime, SecondsFormat, Utc};
use hako_model::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;

/// The build cache and its sums.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// In Docker's form.
    pub items: Vec<Value>,
    /// Bytes of all of it but what images have as well.
    pub size: i64,
    /// How many records builds use now.
    pub active: i64,
    /// Bytes of what can be removed.
    pub reclaimable: i64,
}

/// Reads it.
///
/// # Errors
/// The store's.
pub async fn usage(engine: &Arc<Engine>) -> Result<Usage> {
    let (store, busy) = (engine.store.clone(), engine.builds.any());
    let read = move || -> Result<Usage> {
        let mut usage = Usage::default();
        for step in store.steps()? {
            let in_use = busy && store.is_held(&step.image);
            usage.add(in_use, step.shared, step.size);
            usage.items.push(json!({
                "ID": step.key.get(..25).unwrap_or(&step.key),
                "Parents": if step.parent.is_empty() { Value::Null } else { json!([step.parent]) },
                "Type": step.kind,
                "Description": step.description,
                "InUse": in_use,
                "Shared": step.shared,
                "Size": step.size,
                "CreatedAt": time(step.created),
                "LastUsedAt": time(step.used),
                "UsageCount": step.uses,
            }));
        }
        for cache in mounts::caches(store.root())? {
            usage.add(false, false, cache.size);
            usage.items.push(json!({
                "ID": cache.name,
                "Type": "exec.cachemount",
                "Description": "cached mount of RUN",
                "InUse": false,
                "Shared": false,
                "Size": cache.size,
                "CreatedAt": time(cache.used),
                "LastUsedAt": time(cache.used),
                "UsageCount": 1,
            }));
        }
        Ok(usage)
    };
    tokio::task::spawn_blocking(read).await.map_err(|err| Error::internal(err.to_string()))?
}

impl Usage {
    fn add(&mut self, in_use: bool, shared: bool, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.active += i64::from(in_use);
        if !shared {
            self.size = self.size.saturating_add(size);
            if !in_use {
                self.reclaimable = self.reclaimable.saturating_add(size);
            }
        }
    }
}

/// RFC 3339 of seconds since 1970.
fn time(seconds: i64) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
