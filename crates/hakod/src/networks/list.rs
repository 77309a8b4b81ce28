//! `GET /networks`.

use super::{inspect::render, record::Network};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::Filters;
use hako_model::{Error, Result};
use std::{collections::BTreeSet, sync::Arc};

const KNOWN: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Lists networks.
pub fn serve(engine: &Engine, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(KNOWN)?;
    if let Some(kind) = filters.get("type").iter().find(|kind| !matches!(kind.as_str(), "custom" | "builtin")) {
        return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let dangling = dangling(&filters)?;
    let mut all: Vec<Arc<Network>> = engine.networks.all();
    all.retain(|network| fits(&filters, network));
    if let Some(want) = dangling {
        let wanted = wanted(engine);
        all.retain(|network| (!network.is_predefined() && !wanted.contains(&network.name)) == want);
    }
    all.sort_by(|a, b| a.created.cmp(&b.created).then(a.name.cmp(&b.name)));
    Ok(json(&all.iter().map(render).collect::<Vec<_>>()))
}

fn dangling(filters: &Filters) -> Result<Option<bool>> {
    match filters.get("dangling") {
        [] => Ok(None),
        [value] if matches!(value.as_str(), "1" | "true") => Ok(Some(true)),
        [value] if matches!(value.as_str(), "0" | "false") => Ok(Some(false)),
        values => Err(Error::invalid(format!("invalid filter 'dangling={}'", values.join(" ")))),
    }
}

/// The networks that some container asks for, whether it runs or not.
pub(super) fn wanted(engine: &Engine) -> BTreeSet<String> {
    let all = engine.containers.all();
    all.iter().flat_map(|container| container.view().record.networks.keys().cloned().collect::<Vec<_>>()).collect()
}

fn fits(filters: &Filters, network: &Network) -> bool {
    let kind = if network.is_predefined() { "builtin" } else { "custom" };
    filters.any("driver", |driver| network.driver_name() == driver)
        && filters.any("name", |name| network.name.contains(name))
        && filters.any("id", |id| network.id.starts_with(id))
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |want| kind == want)
        && filters.labels(|key| network.labels.get(key).map(String::as_str))
}
