//! `GET /images/json`.

use super::{
    ListParams,
    document::list_or_null,
    filters::{Filters, made},
    names,
};
use hako_model::{Digest, Result};
use hako_store::{RefRow, Store};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Every image that the filters leave, the newest first. Images without a
/// name are listed too; `all` adds nothing, for no image here is a mere step
/// of a build.
pub(super) fn list(store: &Store, params: &ListParams, users: impl Fn(&Digest) -> usize) -> Result<Value> {
    let filters = Filters::read(store, params)?;
    let mut names: HashMap<Digest, Vec<RefRow>> = HashMap::new();
    for row in store.references(None)? {
        names.entry(row.image.clone()).or_default().push(row);
    }
    let shared = if params.shared_size { shared_sizes(store)? } else { HashMap::new() };
    let mut rows = Vec::new();
    for image in store.images()? {
        let mut refs = names.remove(&image.id).unwrap_or_default();
        // Removed while this was read.
        let Ok(document) = names::document(store, &image.id) else { continue };
        if !filters.accept(&image, &document, &mut refs) {
            continue;
        }
        let (mut tags, mut digests) = names::tags_and_digests(&refs);
        if params.api_minor < 43 && tags.is_empty() && digests.is_empty() {
            tags = vec!["<none>:<none>".into()];
            digests = vec!["<none>@<none>".into()];
        }
        let labels = &document.config.labels;
        let mut row = json!({
            // Counted since 1.51; before that it was a word for unknown.
            "Containers": if params.api_minor >= 51 { json!(users(&image.id)) } else { json!(-1) },
            "Created": made(&image),
            "Id": image.id,
            "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
            "ParentId": "",
            "RepoDigests": digests,
            "RepoTags": tags,
            "SharedSize": shared.get(&image.id).copied().unwrap_or(-1),
            "Size": image.size,
        });
        if params.api_minor < 44 {
            row["VirtualSize"] = json!(image.size);
        }
        rows.push((made(&image), row));
    }
    // Of the same age: those with names first, in their order.
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| name(&a.1).cmp(name(&b.1))));
    Ok(Value::Array(rows.into_iter().map(|(_, row)| row).collect()))
}

fn name(row: &Value) -> &str {
    row["RepoTags"][0].as_str().unwrap_or("\u{10ffff}")
}

/// Bytes of the layers that an image shares with others.
fn shared_sizes(store: &Store) -> Result<HashMap<Digest, i64>> {
    let mut users: HashMap<Digest, usize> = HashMap::new();
    let mut images = Vec::new();
    for image in store.images()? {
        let layers = store.image_layers(&image.id)?;
        for layer in &layers {
            *users.entry(layer.chain.clone()).or_default() += 1;
        }
        images.push((image.id, layers));
    }
    Ok(images
        .into_iter()
        .map(|(id, layers)| {
            let shared = layers.iter().filter(|l| users.get(&l.chain).is_some_and(|n| *n > 1));
            let size = shared.map(|l| i64::try_from(l.size).unwrap_or(0)).sum();
            (id, size)
        })
        .collect())
}

/// Tags for the history, `null` where there are none.
pub(super) fn tags(store: &Store, id: &Digest) -> Result<Value> {
    Ok(list_or_null(names::tags_and_digests(&store.references(Some(id))?).0))
}
