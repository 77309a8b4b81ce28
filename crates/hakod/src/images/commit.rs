//! An image of a container: its image's layers, and one of what it has written.

use super::{
    Document, ImageEvent, ImageService,
    install::{LayerSource, install_image, install_layer_keeping, run_blocking},
};
use chrono::{SecondsFormat, Utc};
use hako_model::{Digest, Error, Reference, Result};
use hako_store::{Blob, NewRef, Store};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// The layer's media type.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The tar without an entry: no layer at all, as in Docker.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What an image is made of.
pub struct CommitRequest {
    /// The container's image.
    pub parent: Digest,
    /// The layer's tar, not in the store yet.
    pub layer: Blob,
    /// The container.
    pub container: String,
    /// What made the layer, for the history.
    pub created_by: String,
    /// `author`.
    pub author: String,
    /// `comment`.
    pub comment: String,
    /// The image's `config`.
    pub config: Value,
    /// A name for it.
    pub name: Option<Reference>,
}

impl ImageService {
    pub(super) async fn commit_inner(self: &Arc<Self>, request: CommitRequest) -> Result<Digest> {
        let store = self.store.clone();
        let name = request.name.clone();
        let made = run_blocking(move || {
            let made = make(&store, request);
            // What came before the failure has no image: its leases are gone by now.
            if made.is_err()
                && let Err(err) = store.collect()
            {
                tracing::warn!("remove what a failed commit left: {err}");
            }
            made
        });
        let id = made.await?;
        if let Some(name) = name {
            let attributes = HashMap::from([("name".to_owned(), name.familiar())]);
            self.tell(ImageEvent { action: "tag", id: id.to_string(), attributes });
        }
        Ok(id)
    }
}

fn make(store: &Store, request: CommitRequest) -> Result<Digest> {
    let parent = store.read_blob(&request.parent, hako_registry::MAX_CONFIG)?;
    let parent: Value = serde_json::from_slice(&parent)
        .map_err(|err| Error::internal(format!("config of image {}: {err}", request.parent)))?;
    let layer = Some(request.layer.digest().clone()).filter(|digest| digest.as_str() != EMPTY_TAR);
    let config = describe(parent, &request, layer.as_ref());
    let config = serde_json::to_vec(&config).map_err(|err| Error::internal(err.to_string()))?;
    let document = Document::parse(&config)?;
    let chains = document.chains();
    let mut lease = store.lease();
    chains.iter().chain(&layer).for_each(|digest| lease.hold(digest));
    if let Some(blob) = &layer {
        if chains.len() > hako_registry::MAX_LAYERS {
            return Err(Error::invalid(format!("max depth exceeded: {} layers", chains.len())));
        }
        let kept = request.layer;
        let source = LayerSource {
            archive: kept.open()?,
            blob,
            media_type: LAYER,
            index: chains.len() - 1,
            document: &document,
            chains: &chains,
        };
        install_layer_keeping(store, source, &|_| {}, || Ok(kept.commit()?))?;
    }
    let refs = request.name.iter().map(|name| NewRef { name: name.key(), target: None, manifest: None });
    install_image(store, &mut lease, &config, &document, &[], refs.collect())
}

/// The new image's config: what its parent says of the platform, and one step more.
fn describe(parent: Value, request: &CommitRequest, layer: Option<&Digest>) -> Value {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    let mut image = serde_json::Map::new();
    for key in ["architecture", "variant", "os", "os.version", "os.features"] {
        if let Some(value) = parent.get(key).filter(|value| !value.is_null()) {
            image.insert(key.to_owned(), value.clone());
        }
    }
    let array = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut diffs = array(parent.pointer("/rootfs/diff_ids"));
    diffs.extend(layer.map(|digest| json!(digest.to_string())));
    let mut step = json!({ "created": now, "created_by": request.created_by });
    let mut set = |key: &str, value: Value| step[key] = value;
    if !request.author.is_empty() {
        set("author", json!(request.author));
        image.insert("author".to_owned(), json!(request.author));
    }
    if !request.comment.is_empty() {
        set("comment", json!(request.comment));
    }
    if layer.is_none() {
        set("empty_layer", json!(true));
    }
    let mut history = array(parent.get("history"));
    history.push(step);
    image.insert("config".to_owned(), request.config.clone());
    image.insert("container".to_owned(), json!(request.container));
    image.insert("created".to_owned(), json!(now));
    image.insert("history".to_owned(), Value::Array(history));
    image.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diffs }));
    Value::Object(image)
}
