//! `POST /images/prune`.

use crate::{
    Engine,
    http::{Request, Response, json},
    images::Pruned,
};
use hako_api::Filters;
use hako_model::{Error, Result};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// Removes images that nobody uses. One prune runs at a time, of whatever kind.
pub(super) async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    let engine = engine.clone();
    // A prune that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move {
        let _one = engine.begin_prune()?;
        let pruned = engine.images.prune(filters).await?;
        let about = BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        engine.events.emit("image", "prune", "", about);
        Ok::<Pruned, Error>(pruned)
    });
    let pruned = work.await.map_err(|err| Error::internal(err.to_string()))??;
    let deleted = (!pruned.deleted.is_empty()).then_some(pruned.deleted);
    Ok(json(&json!({ "ImagesDeleted": deleted, "SpaceReclaimed": pruned.reclaimed })))
}
