//! `POST /images/load`: docker-archives and OCI layouts.
//!
//! An archive is read once, in whatever order its parts come: each file goes
//! into a temporary blob while its digest is computed. What it is and what of
//! it is used is decided when all is there. Names in it lead to those blobs
//! and nowhere else.

mod describe;
mod layer;

use super::{
    Document, ImageEvent, ImageService, JsonLines,
    archive::Archive,
    install::{install_image, run_apart},
    platform::Wanted,
    progress::Lines,
};
use describe::Described;
use hako_model::{Digest, Error, Reference, Result};
use hako_store::{NewRef, Store};
use serde_json::json;
use std::{collections::HashMap, io::Read, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// How long the rest of an archive is read.
const DRAIN: Duration = Duration::from_secs(30);
/// How long nothing of it may come.
const QUIET: Duration = Duration::from_secs(2);

impl ImageService {
    pub(super) async fn load_inner(
        self: &Arc<Self>,
        body: impl AsyncRead + Send + Unpin + 'static,
        quiet: bool,
        platform: &str,
    ) -> Result<JsonLines> {
        let platform = Wanted::read(platform)?;
        let service = self.clone();
        self.stream(move |lines| async move {
            let mut bridge = tokio_util::io::SyncIoBridge::new(body);
            let store = service.store.clone();
            let (loaded, bridge) = run_apart(move || {
                let loaded = load_blocking(&store, &mut bridge, quiet, platform.as_ref(), &lines);
                if loaded.is_err() {
                    refused(&store);
                }
                Ok((loaded, bridge))
            })
            .await?;
            drain(bridge.into_inner()).await;
            for id in loaded? {
                let attributes = HashMap::from([("name".to_owned(), id.to_string())]);
                service.tell(ImageEvent { action: "load", id: id.to_string(), attributes });
            }
            Ok(())
        })
        .await
    }
}

/// After a failure, whether anybody still waits or not: removes what came before
/// it, whose leases are gone by now.
pub(super) fn refused(store: &Store) {
    if let Err(err) = store.collect() {
        tracing::warn!("remove what a failed load left: {err}");
    }
}

/// Reads on for a while. A client that still sends, be it an archive's padding,
/// would see a broken connection instead of the answer; one that sends nothing
/// more and does not end has it all the same.
pub(super) async fn drain(mut body: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 64 << 10];
    let rest = async { while let Ok(Ok(1..)) = timeout(QUIET, body.read(&mut buffer)).await {} };
    let _ = timeout(DRAIN, rest).await;
}

/// Loads every image of an archive; their ids. Blocks.
pub(super) fn load_blocking(
    store: &Store,
    reader: impl Read + Send,
    quiet: bool,
    platform: Option<&Wanted>,
    lines: &Lines,
) -> Result<Vec<Digest>> {
    let mut archive = Archive::read(store, reader)?;
    let images = describe::images(&archive, platform)?;
    if images.is_empty() {
        return Err(Error::invalid("invalid archive: its manifest names no image"));
    }
    let mut ids = Vec::new();
    for image in images {
        let tags = image.tags.clone();
        let Some((id, before)) = load_image(store, &mut archive, image, quiet, platform, lines)? else { continue };
        if tags.is_empty() {
            lines.send_blocking(json!({ "stream": format!("Loaded image ID: {id}\n") }))?;
        }
        for (tag, before) in tags.iter().zip(before) {
            if let Some(before) = before.filter(|before| *before != id) {
                lines.send_blocking(json!({ "stream": format!(
                    "The image {} already exists, renaming the old one with ID {before} to empty string\n",
                    tag.familiar()
                ) }))?;
            }
            lines.send_blocking(json!({ "stream": format!("Loaded image: {}\n", tag.familiar()) }))?;
        }
        ids.push(id);
    }
    match platform {
        Some(platform) if ids.is_empty() => {
            Err(Error::not_found(format!("the archive has no image for the platform {platform}")))
        }
        _ => Ok(ids),
    }
}

/// The image's id, and where each of its names led before; `None` where it is for another platform.
fn load_image(
    store: &Store,
    archive: &mut Archive,
    image: Described,
    quiet: bool,
    platform: Option<&Wanted>,
    lines: &Lines,
) -> Result<Option<(Digest, Vec<Option<Digest>>)>> {
    let config = archive.read_file(&image.config, hako_registry::MAX_CONFIG)?;
    let document = Document::parse(&config)?;
    let fits = |wanted: &Wanted| {
        wanted.platform.accepts(&document.platform()).is_some() && wanted.admits(&document.os_version)
    };
    if !platform.is_none_or(fits) {
        return Ok(None);
    }
    let (layers, diffs) = (image.layers.len(), document.rootfs.diff_ids.len());
    if layers != diffs {
        return Err(Error::invalid(format!(
            "invalid manifest, layers length mismatch: expected {diffs}, got {layers}"
        )));
    }
    let mut lease = store.lease();
    let listener = if quiet { Lines::none() } else { lines.clone() };
    layer::load_all(store, archive, &image.layers, &document, &mut lease, &listener)?;
    let before = image.tags.iter().map(|tag| Ok(store.reference(&tag.key())?.map(|row| row.image)));
    let before = before.collect::<Result<_>>()?;
    let manifest = image.kept.first().map(|kept| kept.digest.clone());
    let new = |tag: &Reference| NewRef { name: tag.key(), target: manifest.clone(), manifest: manifest.clone() };
    let refs = image.tags.iter().map(new).collect();
    Ok(Some((install_image(store, &mut lease, &config, &document, &image.kept, refs)?, before)))
}
