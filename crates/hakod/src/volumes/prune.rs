//! `POST /volumes/prune`.

use super::{ANONYMOUS, Found, all, api::size, delete, references};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::{ApiVersion, Filters, types::VolumesPruned};
use hako_model::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Since when a prune leaves volumes that somebody has named, unless told otherwise.
const ANONYMOUS_SINCE: ApiVersion = ApiVersion::new(1, 42);

/// Removes volumes that no container has. One prune runs at a time, of whatever kind.
pub async fn prune(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    let everything = req.version < ANONYMOUS_SINCE;
    let engine = engine.clone();
    // A prune that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { run(&engine, &filters, everything).await });
    let answer = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json(&answer))
}

async fn run(engine: &Engine, filters: &Filters, everything: bool) -> Result<VolumesPruned> {
    let _one = engine.begin_prune()?;
    filters.only(&["all", "label", "label!"])?;
    let everything = everything || named_too(filters.get("all"))?;
    let mut answer = VolumesPruned::default();
    for volume in all(engine).await? {
        let wanted = everything || volume.label(ANONYMOUS).is_some();
        if !wanted || !fits(filters, &volume) || !references(engine, &volume.name).is_empty() {
            continue;
        }
        let bytes = size(engine, &volume.name).await;
        // A container may have come to have it a moment ago.
        if let Err(err) = delete(engine, &volume.name, "").await {
            tracing::warn!("failed to prune volume: {err}");
            continue;
        }
        answer.space_reclaimed += u64::try_from(bytes).unwrap_or(0);
        answer.volumes_deleted.push(volume.name);
    }
    let about = BTreeMap::from([("reclaimed".to_owned(), answer.space_reclaimed.to_string())]);
    engine.events.emit("volume", "prune", "", about);
    Ok(answer)
}

/// `all=true`.
fn named_too(values: &[String]) -> Result<bool> {
    match values {
        [] => Ok(false),
        [value] => match value.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(Error::invalid(format!(
                "invalid filter 'all': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        },
        many => Err(Error::invalid(format!("invalid filter 'all=[{}]'", many.join(" ")))),
    }
}

/// One with a device of its own is never pruned, as in Docker.
fn fits(filters: &Filters, volume: &Found) -> bool {
    let label = |key: &str| volume.label(key);
    volume.about.options.as_ref().is_none_or(BTreeMap::is_empty)
        && filters.labels(label)
        && (filters.get("label!").is_empty() || !filters.pairs("label!", label))
}
