//! `POST /networks/prune`.

use super::{list::wanted, record::Network, remove};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::{Filters, time, types::network::NetworksPruned};
use hako_model::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

const KNOWN: &[&str] = &["label", "label!", "until"];

/// Removes the networks that no container asks for. One prune runs at a time,
/// of whatever kind.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    let engine = engine.clone();
    // A prune that has begun is finished, also if the client goes.
    let work = tokio::spawn(async move { prune(&engine, &filters).await });
    let answer = work.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(json(&answer))
}

async fn prune(engine: &Engine, filters: &Filters) -> Result<NetworksPruned> {
    let _one = engine.begin_prune()?;
    filters.only(KNOWN)?;
    let until = match filters.get("until") {
        [] => None,
        [text] => time::parse_query("until", text)
            .map_err(|_| Error::invalid(format!("invalid value for 'until' filter: {text}")))?,
        _ => return Err(Error::invalid("more than one until filter specified")),
    };
    let mut deleted = Vec::new();
    for network in engine.networks.all() {
        let is_old = until.is_none_or(|until| time::parse(&network.created).is_none_or(|created| created <= until));
        if network.is_predefined() || wanted(engine).contains(&network.name) || !is_old || !labelled(filters, &network)
        {
            continue;
        }
        // Somebody may have come a moment ago.
        match remove::remove(engine, &network).await {
            Ok(()) => deleted.push(network.name.clone()),
            Err(err) => tracing::warn!("failed to prune network {}: {err}", network.name),
        }
    }
    let about = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
    engine.events.emit("network", "prune", "", about);
    Ok(NetworksPruned { networks_deleted: (!deleted.is_empty()).then_some(deleted) })
}

fn labelled(filters: &Filters, network: &Network) -> bool {
    let label = |key: &str| network.labels.get(key).map(String::as_str);
    filters.labels(label) && (filters.get("label!").is_empty() || !filters.pairs("label!", label))
}
