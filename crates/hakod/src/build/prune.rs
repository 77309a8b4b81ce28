//! `POST /build/prune`: removes what the build cache keeps.
//!
//! Without `all` that is what no image that is still there was built from. What
//! a build that runs uses stays.

use super::mounts;
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::{Filters, time};
use hako_model::{Error, Result};
use hako_store::{StepRow, Store};
use serde_json::json as value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is asked for.
struct Wanted {
    all: bool,
    /// Bytes that may stay.
    keep: u64,
    filters: Matching,
}

#[derive(Default)]
struct Matching {
    /// Not used since, seconds since 1970.
    until: Option<i64>,
    ids: Vec<String>,
    kinds: Vec<String>,
}

impl Matching {
    fn read(text: &str) -> Result<Self> {
        let mut filters = Self::default();
        for (key, values) in Filters::parse(text)? {
            match key.as_str() {
                "until" | "unused-for" => {
                    for text in values {
                        let until = time::parse_query("until", &text)?.map(|time| time.timestamp());
                        filters.until = filters.until.or(until).min(until);
                    }
                }
                "id" => filters.ids.extend(values),
                "type" => filters.kinds.extend(values),
                other => return Err(Error::invalid(format!("invalid filter '{other}'"))),
            }
        }
        Ok(filters)
    }

    fn fits(&self, id: &str, kind: &str, used: i64) -> bool {
        self.until.is_none_or(|until| used <= until)
            && (self.ids.is_empty() || self.ids.iter().any(|start| id.starts_with(start.as_str())))
            && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }
}

impl Wanted {
    fn read(req: &Request) -> Result<Self> {
        let bytes = |key: &str| match req.query.get(key) {
            "" => Ok(0),
            text => text
                .parse::<u64>()
                .map_err(|_| Error::invalid(format!("{key} is in bytes and expects an integer, got {text}"))),
        };
        let reserved = bytes("reserved-space")?.max(bytes("keep-storage")?).max(bytes("max-used-space")?);
        bytes("min-free-space")?;
        Ok(Self { all: req.query.flag("all"), keep: reserved, filters: Matching::read(req.query.get("filters"))? })
    }
}

/// Removes what is asked for.
///
/// # Errors
/// An unknown filter; a prune runs; the store's.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let wanted = Wanted::read(req)?;
    let _alone = engine.begin_prune()?;
    // Caches of RUN stay while any is in use.
    let free = engine.builds.caches.clone().try_write_owned().ok();
    let store = engine.store.clone();
    let (gone, bytes) = super::on_thread("prune", move || run(&store, &wanted, free.is_some())).await?;
    let attributes = BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]);
    engine.events.emit("builder", "prune", "", attributes);
    Ok(json(&value!({ "CachesDeleted": gone, "SpaceReclaimed": bytes })))
}

fn run(store: &Store, wanted: &Wanted, free: bool) -> Result<(Vec<String>, u64)> {
    let steps = store.steps()?;
    let needed = if wanted.all { BTreeSet::new() } else { ancestors(&steps) };
    let caches = if free { mounts::caches(store.root())? } else { Vec::new() };
    let total = steps.iter().filter(|step| !step.shared).map(|step| step.size).sum::<u64>()
        + caches.iter().map(|cache| cache.size).sum::<u64>();
    let mut left = total;
    let (mut keys, mut names, mut bytes) = (Vec::new(), Vec::new(), 0);
    // The one used longest ago first.
    for step in &steps {
        let stays = store.is_held(&step.image)
            || needed.contains(step.image.as_str())
            || !wanted.filters.fits(&step.key, &step.kind, step.used);
        if stays || (wanted.keep > 0 && left <= wanted.keep) {
            continue;
        }
        if !step.shared {
            bytes += step.size;
            left = left.saturating_sub(step.size);
        }
        keys.push(step.key.clone());
        names.push(step.key.get(..25).unwrap_or(&step.key).to_owned());
    }
    store.delete_steps(&keys)?;
    for cache in caches {
        let fits = wanted.filters.fits(&cache.name, "exec.cachemount", cache.used);
        if !fits || (wanted.keep > 0 && left <= wanted.keep) {
            continue;
        }
        cache.remove()?;
        bytes += cache.size;
        left = left.saturating_sub(cache.size);
        names.push(cache.name);
    }
    Ok((names, bytes))
}

/// The images of steps that an image which is there was built from, itself included.
fn ancestors(steps: &[StepRow]) -> BTreeSet<String> {
    let parents: BTreeMap<&str, &str> = steps.iter().map(|step| (step.image.as_str(), step.parent.as_str())).collect();
    let mut needed = BTreeSet::new();
    for step in steps.iter().filter(|step| step.shown) {
        let mut at = step.image.as_str();
        while !at.is_empty() && needed.insert(at.to_owned()) {
            at = parents.get(at).copied().unwrap_or_default();
        }
    }
    needed
}
