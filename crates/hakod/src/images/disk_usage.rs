//! What images take on the disk, for `GET /system/df`: the files of their
//! layers, the archives that those came from, and EROFS images.

use super::{ListParams, list};
use hako_model::{Digest, Error, Result};
use hako_store::Store;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Images and their sums.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// As the list of images has them, with all that they take, what of it they
    /// share, and the numbers of their containers.
    pub items: Vec<Value>,
    /// Bytes of everything, each counted once.
    pub layers_size: i64,
    /// How many images containers use.
    pub active: i64,
    /// Bytes of what no container's image has.
    pub reclaimable: i64,
}

/// One thing on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Thing {
    Layer(Digest),
    Archive(Digest),
    Erofs(Digest),
}

/// Reads it; `users` says how many containers use an image.
pub(super) fn read(store: &Store, api_minor: u32, users: impl Fn(&Digest) -> usize) -> Result<DiskUsage> {
    let params = ListParams { all: true, api_minor, ..ListParams::default() };
    let Value::Array(mut items) = list::list(store, &params, &users)? else {
        return Err(Error::internal("the list of images is none"));
    };
    let erofs: HashMap<Digest, u64> = store.erofs_sizes()?.into_iter().collect();
    let mut sizes: HashMap<Thing, (u64, usize)> = HashMap::new();
    let mut needed = HashSet::new();
    let mut images: HashMap<String, (usize, HashSet<Thing>)> = HashMap::new();
    // Those that were removed by force while a container used them still have their layers.
    for image in store.images()?.into_iter().chain(store.hidden_images()?) {
        let things = things(store, &image.id, &erofs)?;
        let count = users(&image.id);
        for (thing, size) in &things {
            sizes.entry(thing.clone()).or_insert((*size, 0)).1 += 1;
            if count > 0 {
                needed.insert(thing.clone());
            }
        }
        images.insert(image.id.to_string(), (count, things.into_keys().collect()));
    }
    let mut active = 0;
    for item in &mut items {
        let Some((count, things)) = item["Id"].as_str().and_then(|id| images.get(id)) else { continue };
        active += i64::from(*count > 0);
        item["Containers"] = (*count).into();
        let size = |shared: bool| sum(things.iter().map(|t| &sizes[t]).filter(|(_, n)| !shared || *n > 1).map(|t| t.0));
        item["Size"] = size(false).into();
        item["SharedSize"] = size(true).into();
        if item.get("VirtualSize").is_some() {
            item["VirtualSize"] = size(false).into();
        }
    }
    let free = sizes.iter().filter(|(thing, _)| !needed.contains(*thing)).map(|(_, (size, _))| *size);
    let reclaimable = sum(free);
    Ok(DiskUsage { items, layers_size: sum(sizes.values().map(|(size, _)| *size)), active, reclaimable })
}

fn things(store: &Store, image: &Digest, erofs: &HashMap<Digest, u64>) -> Result<HashMap<Thing, u64>> {
    let mut things = HashMap::new();
    let layers = store.image_layers(image)?;
    if let Some(top) = layers.last()
        && let Some(size) = erofs.get(&top.chain)
    {
        things.insert(Thing::Erofs(top.chain.clone()), *size);
    }
    for layer in layers {
        if let Some(blob) = layer.blob {
            // Collected while this was read: it takes nothing.
            let size = store.blob_size(&blob).unwrap_or(0);
            things.insert(Thing::Archive(blob), size);
        }
        things.insert(Thing::Layer(layer.chain), layer.size);
    }
    // Manifests, and what was packed for a push.
    for (digest, _) in store.kept(image)? {
        let size = store.blob_size(&digest).unwrap_or(0);
        things.insert(Thing::Archive(digest), size);
    }
    Ok(things)
}

fn sum(sizes: impl Iterator<Item = u64>) -> i64 {
    i64::try_from(sizes.sum::<u64>()).unwrap_or(i64::MAX)
}
