//! `GET /containers/json`.

use super::{
    actor::View,
    inspect,
    selection::{KNOWN, Selection},
};
use crate::{
    Engine,
    http::{Request, Response, json},
    networks,
};
use hako_api::{
    ApiVersion, Filters, time,
    types::{
        ContainerSummary,
        container::{HealthSummary, SummaryHostConfig, SummaryNetworks},
    },
};
use hako_model::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// The version from which on a list shows health.
const HEALTH_SINCE: ApiVersion = ApiVersion::new(1, 52);

/// Lists containers, the newest first.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(KNOWN)?;
    let limit = limit(req.query.get("limit"))?;
    let selection = Selection::new(engine, &filters).await?;
    // A filter by state looks at all of them, and so does a limit.
    let all = req.query.flag("all") || limit > 0 || !filters.get("status").is_empty();
    let mut views: Vec<Arc<View>> = engine.containers.all().iter().map(|c| c.view()).collect();
    views.retain(|view| {
        !view.removed && (all || view.record.state.is_running()) && selection.fits(engine, &filters, view)
    });
    views.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    if limit > 0 {
        views.truncate(limit);
    }
    let size = req.query.flag("size");
    let mut names = ImageNames::default();
    let mut list = Vec::with_capacity(views.len());
    for view in views {
        let health = (req.version >= HEALTH_SINCE).then(|| health(&view));
        list.push(ContainerSummary { health, ..summary(engine, &view, &mut names, size, req.version).await });
    }
    Ok(json(&list))
}

/// Every container, the newest first, with its sizes: for `GET /system/df`.
pub async fn with_sizes(engine: &Arc<Engine>) -> Vec<ContainerSummary> {
    let mut views: Vec<Arc<View>> = engine.containers.all().iter().map(|c| c.view()).collect();
    views.retain(|view| !view.removed);
    views.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    let mut names = ImageNames::default();
    let mut list = Vec::with_capacity(views.len());
    for view in views {
        list.push(summary(engine, &view, &mut names, true, hako_api::version::MAX).await);
    }
    list
}

/// How many are wanted; 0 is all of them, and so is what is below.
fn limit(text: &str) -> Result<usize> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: i64 =
        text.parse().map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?;
    Ok(usize::try_from(number).unwrap_or(0))
}

fn health(view: &View) -> HealthSummary {
    match &view.record.health {
        None => HealthSummary { status: "none".to_owned(), failing_streak: 0 },
        Some(health) => HealthSummary { status: health.status.to_string(), failing_streak: health.failing_streak },
    }
}

/// What image names lead to now, each looked up once for a list.
#[derive(Default)]
struct ImageNames(BTreeMap<String, Option<String>>);

impl ImageNames {
    /// The name that the container was created by, as long as it still leads there.
    async fn shown(&mut self, engine: &Engine, name: &str, id: &str) -> String {
        if !self.0.contains_key(name) {
            let found = engine.images.resolve(name).await.ok().map(|image| image.id.to_string());
            self.0.insert(name.to_owned(), found);
        }
        match self.0.get(name) {
            Some(Some(now)) if now != id => id.to_owned(),
            Some(_) | None => name.to_owned(),
        }
    }
}

async fn summary(
    engine: &Engine,
    view: &View,
    names: &mut ImageNames,
    size: bool,
    version: ApiVersion,
) -> ContainerSummary {
    let record = &view.record;
    let quoted = |arg: &String| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() };
    let command: Vec<String> = std::iter::once(record.path.clone()).chain(record.args.iter().map(quoted)).collect();
    let (size_rw, size_root_fs) = if size { inspect::sizes(engine, record).await } else { (None, None) };
    ContainerSummary {
        id: record.id.to_string(),
        names: vec![format!("/{}", record.name)],
        image: names.shown(engine, &record.config.image, &record.image_id).await,
        image_id: record.image_id.clone(),
        command: command.join(" "),
        created: time::parse(&record.created).map_or(0, |t| t.timestamp()),
        ports: networks::listed_ports(engine, record),
        // A list leaves out what is nothing, an inspect does not.
        size_rw: size_rw.filter(|size| *size != 0),
        size_root_fs: size_root_fs.filter(|size| *size != 0),
        labels: record.config.labels.clone(),
        state: record.state.word().to_owned(),
        status: record.state.status_text(record.health.as_ref()),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode.clone(),
            isolation: record.isolation.to_string(),
        },
        network_settings: SummaryNetworks { networks: networks::summary(engine, record, version) },
        mounts: record.mounts.iter().map(|mount| mount.point.clone()).collect(),
        health: None,
    }
}
