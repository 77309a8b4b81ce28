//! Keys that one task holds at a time, and leases that keep things from being
//! collected. Both live in memory: after a crash nothing is in flight.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<HashMap<String, Weak<AsyncMutex<()>>>>);

/// Holds a key of [`crate::Store::lock`] until dropped.
#[derive(Debug)]
pub struct KeyGuard {
    _held: OwnedMutexGuard<()>,
}

impl Keys {
    fn entry(&self, key: &str) -> Arc<AsyncMutex<()>> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = map.get(key).and_then(Weak::upgrade) {
            return found;
        }
        map.retain(|_, weak| weak.strong_count() > 0);
        let fresh = Arc::new(AsyncMutex::new(()));
        map.insert(key.to_owned(), Arc::downgrade(&fresh));
        fresh
    }

    pub(crate) async fn lock(&self, key: &str) -> KeyGuard {
        KeyGuard { _held: self.entry(key).lock_owned().await }
    }

    pub(crate) fn lock_blocking(&self, key: &str) -> KeyGuard {
        KeyGuard { _held: self.entry(key).blocking_lock_owned() }
    }
}

type Counts = HashMap<String, usize>;

#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Counts>);

impl Leases {
    /// While this is held no lease begins or ends: the collector holds it from
    /// its look at the rows until the files are out of sight.
    pub(crate) fn freeze(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the things that it holds from being collected.
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    held: Vec<String>,
}

impl Lease {
    pub(crate) fn new(leases: Arc<Leases>) -> Self {
        Self { leases, held: Vec::new() }
    }

    /// Holds a blob's digest, a layer's chain id, or the top chain id of an EROFS image.
    pub fn hold(&mut self, digest: &hako_model::Digest) {
        *self.leases.freeze().entry(digest.to_string()).or_default() += 1;
        self.held.push(digest.to_string());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.leases.freeze();
        for key in &self.held {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
    }
}
