//! `POST /containers/prune`.

use super::{
    inspect,
    remove::{self, How},
    selection::Old,
};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::{Filters, types::container::PruneAnswer};
use hako_model::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Removes the containers that do not run. One prune runs at a time, of whatever kind.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    let engine = engine.clone();
    // A prune that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { prune(&engine, &filters).await });
    let answer = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json(&answer))
}

async fn prune(engine: &Arc<Engine>, filters: &Filters) -> Result<PruneAnswer> {
    let _one = engine.begin_prune()?;
    let old = Old::new(filters)?;
    let mut deleted = Vec::new();
    let mut reclaimed = 0_u64;
    // First these: what is a build's is noted before it is made.
    let all = engine.containers.all();
    let store = engine.store.clone();
    let of_builds = tokio::task::spawn_blocking(move || store.build_containers());
    let of_builds = of_builds.await.map_err(|err| Error::internal(err.to_string()))?;
    let of_builds = of_builds.map_err(|err| Error::internal(format!("the containers of builds: {err}")))?;
    for container in all {
        if of_builds.iter().any(|id| id == container.id.as_str()) {
            continue;
        }
        let view = container.view();
        let state = &view.record.state;
        if view.removed || state.is_running() || state.is_starting() || !old.fits(filters, &view) {
            continue;
        }
        let (written, _) = inspect::sizes(engine, &view.record).await;
        // It may have been started, or removed, a moment ago.
        if let Err(err) = remove::remove(&container, container.id.as_str(), How::default()).await {
            tracing::warn!("failed to prune container {}: {err}", container.id);
            continue;
        }
        reclaimed += written.and_then(|written| u64::try_from(written).ok()).unwrap_or(0);
        deleted.push(container.id.to_string());
    }
    let about = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
    engine.events.emit("container", "prune", "", about);
    Ok(PruneAnswer { containers_deleted: (!deleted.is_empty()).then_some(deleted), space_reclaimed: reclaimed })
}
