//! `POST /images/prune`, by Docker's rules: images without a tag, or with
//! `dangling=false` all that no container uses.

use super::{ImageService, filters::made_exactly, names};
use chrono::{DateTime, Utc};
use hako_api::{Filters, time};
use hako_model::{Digest, Error, Result};
use hako_store::Store;
use serde_json::Value;
use std::collections::HashMap;

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Rows of `Untagged` and `Deleted`, as of a removal.
    pub deleted: Vec<Value>,
    /// Bytes that came free.
    pub reclaimed: u64,
}

/// What a prune may be filtered by.
const KNOWN: &[&str] = &["dangling", "label", "label!", "until"];

/// The filters, read.
struct Wanted {
    dangling: bool,
    until: Option<DateTime<Utc>>,
    filters: Filters,
}

impl Wanted {
    fn read(filters: Filters) -> Result<Self> {
        filters.only(KNOWN)?;
        let dangling = match filters.get("dangling") {
            [] => true,
            [one] => super::filters::boolean(one)?,
            many => return Err(Error::invalid(format!("invalid filter 'dangling={many:?}'"))),
        };
        let until = match filters.get("until") {
            [] => None,
            [text] => time::parse_query("until", text)
                .map_err(|_| Error::invalid(format!("invalid value for 'until' filter: {text}")))?,
            _ => return Err(Error::invalid("more than one until filter specified")),
        };
        Ok(Self { dangling, until, filters })
    }
}

/// An image to be removed: its id, and its names.
struct Candidate {
    id: Digest,
    names: Vec<String>,
}

impl ImageService {
    pub(super) async fn prune_inner(&self, filters: Filters) -> Result<Pruned> {
        let wanted = Wanted::read(filters)?;
        let (candidates, sizes) = self.blocking(move |store| Ok((candidates(store, &wanted)?, sizes(store)?))).await?;
        let mut pruned = Pruned::default();
        for image in candidates {
            match self.remove_whole(&image.id, image.names).await {
                Ok(rows) => pruned.deleted.extend(rows),
                // It may have come into use a moment ago.
                Err(err) => tracing::debug!("not pruned: {}: {err}", image.id),
            }
        }
        let gone = pruned.deleted.iter().filter_map(|row| row["Deleted"].as_str());
        pruned.reclaimed = gone.filter_map(|chain| sizes.get(chain)).sum();
        Ok(pruned)
    }
}

fn candidates(store: &Store, wanted: &Wanted) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for image in store.images()? {
        let rows = store.references(Some(&image.id))?;
        let tagged = rows.iter().any(|row| !names::split(&row.name).1);
        // Removed while this was read.
        let Ok(document) = names::document(store, &image.id) else { continue };
        let label = |key: &str| document.config.labels.get(key).map(String::as_str);
        let filters = &wanted.filters;
        let fits = !(wanted.dangling && tagged)
            && wanted.until.is_none_or(|until| image.created.is_some() && made_exactly(&image) < until)
            && filters.labels(label)
            && (filters.get("label!").is_empty() || !filters.pairs("label!", label));
        if fits {
            found.push(Candidate { id: image.id, names: rows.into_iter().map(|row| row.name).collect() });
        }
    }
    Ok(found)
}

/// What each layer takes: its files, its archive, and the EROFS image on top of it.
fn sizes(store: &Store) -> Result<HashMap<String, u64>> {
    let mut sizes = HashMap::new();
    for layer in store.layers()? {
        let archive = layer.blob.as_ref().map_or(0, |blob| store.blob_size(blob).unwrap_or(0));
        sizes.insert(layer.chain.to_string(), layer.size + archive);
    }
    for (chain, size) in store.erofs_sizes()? {
        *sizes.entry(chain.to_string()).or_default() += size;
    }
    Ok(sizes)
}
