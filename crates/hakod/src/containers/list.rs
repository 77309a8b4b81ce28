//! `GET /containers/json`.

use super::{Container, actor::View, inspect, record::State};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_api::{
    Filters, time,
    types::{
        ContainerSummary,
        container::{SummaryHostConfig, SummaryNetworks},
    },
};
use hako_model::{Error, Result};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: &[&str] = &["created", "dead", "exited", "paused", "removing", "restarting", "running"];

/// Lists containers, the newest first.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(KNOWN)?;
    if let Some(bad) = filters.get("status").iter().find(|s| !STATES.contains(&s.as_str())) {
        return Err(Error::invalid(format!("invalid filter 'status={bad}'")));
    }
    let limit: usize = req.query.get("limit").parse().unwrap_or(0);
    let all =
        req.query.flag("all") || limit > 0 || !filters.get("status").is_empty() || !filters.get("exited").is_empty();
    let selection = Selection::new(engine, &filters).await?;
    let mut views: Vec<Arc<View>> = engine.containers.all().iter().map(|c| c.view()).collect();
    views.retain(|view| !view.removed && (all || view.record.state.is_running()) && selection.fits(&filters, view));
    views.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    if limit > 0 {
        views.truncate(limit);
    }
    let size = req.query.flag("size");
    let mut names = ImageNames::default();
    let mut list = Vec::with_capacity(views.len());
    for view in views {
        list.push(summary(engine, &view, &mut names, size).await);
    }
    Ok(json(&list))
}

/// Filters that need a look at other things first.
struct Selection {
    images: Option<HashSet<String>>,
    before: Option<String>,
    since: Option<String>,
    names: Vec<regex_lite::Regex>,
}

impl Selection {
    async fn new(engine: &Arc<Engine>, filters: &Filters) -> Result<Self> {
        let created = |key: &str| -> Result<Option<String>> {
            let found: Option<Arc<Container>> =
                filters.get(key).last().map(|c| engine.containers.find(c)).transpose()?;
            Ok(found.map(|c| c.view().record.created.clone()))
        };
        let mut images = None;
        for name in filters.get("ancestor") {
            let set: &mut HashSet<String> = images.get_or_insert_default();
            set.insert(name.clone());
            if let Ok(image) = engine.images.resolve(name).await {
                set.insert(image.id.to_string());
            }
        }
        let regex = |text: &String| {
            regex_lite::Regex::new(text).map_err(|_| Error::invalid(format!("invalid filter 'name={text}'")))
        };
        Ok(Self {
            images,
            before: created("before")?,
            since: created("since")?,
            names: filters.get("name").iter().map(regex).collect::<Result<_>>()?,
        })
    }

    fn fits(&self, filters: &Filters, view: &View) -> bool {
        let record = &view.record;
        let config = &record.config;
        let slashed = format!("/{}", record.name);
        let exited = |code: &str| matches!(&record.state, State::Exited(e) if e.exit.exit_code.to_string() == code);
        let image = |set: &HashSet<String>| set.contains(&record.image_id) || set.contains(&config.image);
        let mounted =
            |want: &str| record.mounts.iter().any(|m| m.name == want || m.destination == want || m.source == want);
        filters.any("id", |id| record.id.as_str().starts_with(id))
            && (self.names.is_empty() || self.names.iter().any(|r| r.is_match(&record.name) || r.is_match(&slashed)))
            && filters.labels(|key| config.labels.get(key).map(String::as_str))
            && filters.any("status", |status| record.state.word() == status)
            && filters.any("exited", exited)
            && self.images.as_ref().is_none_or(image)
            && self.before.as_ref().is_none_or(|before| record.created < *before)
            && self.since.as_ref().is_none_or(|since| record.created > *since)
            && filters.any("isolation", |want| isolation_is(record.isolation.as_str(), want))
            && filters.any("volume", mounted)
            && filters.any("network", |network| inspect::network_name(&record.host.network_mode) == network)
            && filters.any("expose", |port| config.exposed_ports.as_ref().is_some_and(|ports| exposes(ports.keys(), port)))
            // Nothing is published, nothing is a task, no health check runs.
            && filters.any("publish", |_| false)
            && filters.any("is-task", |want| want == "false" || want == "0")
            && filters.any("health", |want| record.health.as_ref().map_or("none".to_owned(), |h| h.status.to_string()) == want)
    }
}

fn isolation_is(isolation: &str, want: &str) -> bool {
    let want = want.to_ascii_lowercase();
    want == isolation || (want == "vm" && isolation == "hyperv")
}

/// `80`, `80/tcp` or `80-90/tcp` against exposed ports such as `80/tcp`.
fn exposes<'a>(mut ports: impl Iterator<Item = &'a String>, want: &str) -> bool {
    let (range, proto) = want.split_once('/').unwrap_or((want, "tcp"));
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else { return false };
    ports.any(|port| {
        let (number, p) = port.split_once('/').unwrap_or((port, "tcp"));
        p == proto && number.parse().is_ok_and(|n: u16| (from..=to).contains(&n))
    })
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

async fn summary(engine: &Engine, view: &View, names: &mut ImageNames, size: bool) -> ContainerSummary {
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
        ports: Vec::new(),
        size_rw,
        size_root_fs,
        labels: record.config.labels.clone(),
        state: record.state.word().to_owned(),
        status: record.state.status_text(record.health.as_ref()),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode.clone(),
            isolation: record.isolation.to_string(),
        },
        network_settings: SummaryNetworks { networks: inspect::networks(&record.host.network_mode) },
        mounts: record.mounts.clone(),
    }
}
