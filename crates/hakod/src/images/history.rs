//! `GET /images/{name}/history`.

use super::{list::tags, names};
use chrono::DateTime;
use hako_model::Result;
use hako_store::Store;
use serde_json::{Value, json};

/// The steps of the image's making, the last first.
pub(super) fn history(store: &Store, name: &str) -> Result<Value> {
    let image = names::find(store, name)?.image;
    let document = names::document(store, &image.id)?;
    let mut layers = store.image_layers(&image.id)?.into_iter();
    let mut rows: Vec<Value> = Vec::new();
    for step in &document.history {
        let size = if step.empty_layer { 0 } else { layers.next().map_or(0, |layer| layer.size) };
        let created = step.created.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
        rows.push(json!({
            "Comment": step.comment,
            "Created": created.map_or(0, |t| t.timestamp()),
            "CreatedBy": step.created_by,
            "Id": "<missing>",
            "Size": size,
            "Tags": null,
        }));
    }
    // Layers that no step tells of.
    for layer in layers {
        rows.push(json!({
            "Comment": "", "Created": super::filters::made(&image), "CreatedBy": "", "Id": "<missing>",
            "Size": layer.size, "Tags": null,
        }));
    }
    rows.reverse();
    if let Some(top) = rows.first_mut() {
        top["Id"] = json!(image.id);
        top["Tags"] = tags(store, &image.id)?;
    }
    Ok(Value::Array(rows))
}
