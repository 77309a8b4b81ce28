//! `POST /images/create?fromSrc=-`: an image of one archive of files.
//!
//! The archive is kept without its compression, whichever that was, so that the
//! image has the id that it has in Docker but for the time.

use super::{
    Document, ImageEvent, ImageService, JsonLines,
    install::{LayerSource, install_image, install_layer_keeping, run_apart},
    load::{drain, refused},
    platform::Wanted,
    progress::Lines,
};
use chrono::{SecondsFormat, Utc};
use hako_model::{Digest, Error, Reference, Result};
use hako_registry::Platform;
use hako_store::{NewRef, Store};
use serde_json::{Value, json};
use std::{collections::HashMap, io::Read, sync::Arc};
use tokio::io::AsyncRead;

/// The layer's media type.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an import makes.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// A name for it.
    pub name: Option<Reference>,
    /// What its history says.
    pub message: String,
    /// The image's `config`.
    pub config: Value,
    /// `os[/arch[/variant]]`, or empty for the host's.
    pub platform: String,
}

impl ImageService {
    pub(super) async fn import_inner(
        self: &Arc<Self>,
        body: impl AsyncRead + Send + Unpin + 'static,
        request: ImportRequest,
    ) -> Result<JsonLines> {
        let platform = Wanted::read(&request.platform)?.map_or_else(Platform::host, |wanted| wanted.platform);
        if platform.os != "linux" {
            return Err(Error::invalid(format!("operating system \"{}\" is not supported", platform.os)));
        }
        let service = self.clone();
        self.stream(move |lines: Lines| async move {
            let store = service.store.clone();
            let name = request.name.clone();
            let mut bridge = tokio_util::io::SyncIoBridge::new(body);
            let (made, bridge) = run_apart(move || {
                let made = import(&store, &mut bridge, &request, &platform);
                if made.is_err() {
                    refused(&store);
                }
                Ok((made, bridge))
            })
            .await?;
            drain(bridge.into_inner()).await;
            let id = made?;
            lines.send(json!({ "status": id })).await?;
            let shown = name.map_or_else(|| id.to_string(), |name| name.familiar());
            let attributes = HashMap::from([("name".to_owned(), shown)]);
            service.tell(ImageEvent { action: "import", id: id.to_string(), attributes });
            Ok(())
        })
        .await
    }
}

fn import(store: &Store, body: impl Read + Send, request: &ImportRequest, platform: &Platform) -> Result<Digest> {
    let mut blob = store.write_blob(None, None)?;
    hako_layers::inflate(body, &mut blob)?;
    let blob = blob.finish()?;
    let diff = blob.digest().clone();
    let config = describe(request, platform, &diff).to_string().into_bytes();
    let document = Document::parse(&config)?;
    let chains = document.chains();
    let mut lease = store.lease();
    lease.hold(&diff);
    let source = LayerSource {
        archive: blob.open()?,
        blob: &diff,
        media_type: LAYER,
        index: 0,
        document: &document,
        chains: &chains,
    };
    install_layer_keeping(store, source, &|_| {}, || Ok(blob.commit()?))?;
    let refs = request.name.iter().map(|name| NewRef { name: name.key(), target: None, manifest: None });
    install_image(store, &mut lease, &config, &document, &[], refs.collect())
}

fn describe(request: &ImportRequest, platform: &Platform, diff: &Digest) -> Value {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    let mut image = json!({ "architecture": platform.architecture });
    // arm64 is v8 without saying so.
    if !platform.variant.is_empty() && (platform.architecture.as_str(), platform.variant.as_str()) != ("arm64", "v8") {
        image["variant"] = json!(platform.variant);
    }
    image["os"] = json!(platform.os);
    image["config"] = request.config.clone();
    image["created"] = json!(now);
    image["comment"] = json!(request.message);
    image["history"] = json!([{ "created": now, "comment": request.message }]);
    image["rootfs"] = json!({ "type": "layers", "diff_ids": [diff] });
    image
}
