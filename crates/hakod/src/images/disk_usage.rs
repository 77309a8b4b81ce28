//! What images take on the disk, for `GET /system/df`.

use super::{ListParams, list};
use hako_model::{Digest, Error, Result};
use hako_store::Store;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Images and their sums.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// As the list of images has them, with the sizes of what they share and
    /// the numbers of their containers.
    pub items: Vec<Value>,
    /// Bytes of all layers, each counted once.
    pub layers_size: i64,
    /// How many images containers use.
    pub active: i64,
    /// Bytes of layers that no container's image has.
    pub reclaimable: i64,
}

/// Reads it; `users` says how many containers use an image.
pub(super) fn read(store: &Store, api_minor: u32, users: impl Fn(&Digest) -> usize) -> Result<DiskUsage> {
    let params = ListParams { all: true, shared_size: true, api_minor, ..ListParams::default() };
    let Value::Array(mut items) = list::list(store, &params, &users)? else {
        return Err(Error::internal("the list of images is none"));
    };
    let mut counts = HashMap::new();
    let mut layers: HashMap<Digest, u64> = HashMap::new();
    let mut needed = HashSet::new();
    // Those that were removed by force while a container used them still have their layers.
    for image in store.images()?.into_iter().chain(store.hidden_images()?) {
        let count = users(&image.id);
        for layer in store.image_layers(&image.id)? {
            if count > 0 {
                needed.insert(layer.chain.clone());
            }
            layers.insert(layer.chain, layer.size);
        }
        counts.insert(image.id.to_string(), count);
    }
    let mut active = 0;
    for item in &mut items {
        let count = item["Id"].as_str().and_then(|id| counts.get(id)).copied().unwrap_or(0);
        active += i64::from(count > 0);
        item["Containers"] = count.into();
    }
    let sum = |sizes: &mut dyn Iterator<Item = u64>| i64::try_from(sizes.sum::<u64>()).unwrap_or(i64::MAX);
    let layers_size = sum(&mut layers.values().copied());
    let free = layers.iter().filter(|(chain, _)| !needed.contains(*chain)).map(|(_, size)| *size);
    Ok(DiskUsage { items, layers_size, active, reclaimable: sum(&mut free.into_iter()) })
}
