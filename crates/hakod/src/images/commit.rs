//! An image on top of another: its layers, and one more where something was
//! written. What a container's commit and a step of a build come to.

use super::{
    Document, ImageEvent, ImageService,
    install::{LayerSource, install_image, install_layer_keeping, install_step, run_blocking},
};
use chrono::{SecondsFormat, Utc};
use hako_model::{Digest, Error, Reference, Result, policy};
use hako_registry::Platform;
use hako_store::{Blob, NewRef, NewStep, Store};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// The layer's media type.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The tar without an entry: no layer at all, as in Docker.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What an image is made of.
pub struct CommitRequest {
    /// The image below; none for a build from nothing.
    pub parent: Option<Digest>,
    /// What an image from nothing is for; none for the host's. A parent says it itself.
    pub platform: Option<Platform>,
    /// The layer's tar, not in the store yet; none where only the config is another.
    pub layer: Option<Blob>,
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
    /// It is a step of a build: nothing but the build cache needs it yet.
    pub step: Option<NewStep>,
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
    let parent = match &request.parent {
        Some(id) => serde_json::from_slice(&store.read_blob(id, hako_registry::MAX_CONFIG)?)
            .map_err(|err| Error::internal(format!("config of image {id}: {err}")))?,
        None => match &request.platform {
            Some(platform) => json!({
                "os": platform.os,
                "architecture": platform.architecture,
                "variant": Some(&platform.variant).filter(|variant| !variant.is_empty()),
            }),
            None => json!({ "os": "linux", "architecture": policy::native_arch() }),
        },
    };
    let layer = request.layer.as_ref().map(Blob::digest).filter(|digest| digest.as_str() != EMPTY_TAR).cloned();
    let config = describe(parent, &request, layer.as_ref());
    let config = serde_json::to_vec(&config).map_err(|err| Error::internal(err.to_string()))?;
    let document = Document::parse(&config)?;
    let chains = document.chains();
    let mut lease = store.lease();
    chains.iter().chain(&layer).for_each(|digest| lease.hold(digest));
    if let Some(kept) = request.layer.filter(|_| layer.is_some()) {
        if chains.len() > hako_registry::MAX_LAYERS {
            return Err(Error::invalid(format!("max depth exceeded: {} layers", chains.len())));
        }
        let blob = kept.digest().clone();
        let source = LayerSource {
            archive: kept.open()?,
            blob: &blob,
            media_type: LAYER,
            index: chains.len() - 1,
            document: &document,
            chains: &chains,
        };
        install_layer_keeping(store, source, &|_| {}, || Ok(kept.commit()?))?;
    }
    if let Some(step) = request.step {
        return install_step(store, &mut lease, &config, &document, layer.is_some(), step);
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
    if !request.container.is_empty() {
        image.insert("container".to_owned(), json!(request.container));
    }
    image.insert("created".to_owned(), json!(now));
    image.insert("history".to_owned(), Value::Array(history));
    image.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diffs }));
    Value::Object(image)
}
