//! The filters of a list of containers.

use super::{Container, actor::View};
use crate::{Engine, networks};
use hako_api::{Filters, time, types::Port};
use hako_model::{Error, Result};
use std::{collections::HashSet, ops::RangeInclusive, sync::Arc};

/// What a list may be filtered by.
pub(super) const KNOWN: &[&str] = &[
    "ancestor",
    "annotation",
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
const STATES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTHS: &[&str] = &["none", "starting", "healthy", "unhealthy"];

/// Filters that need a look at their values, or at other things, first.
pub(super) struct Selection {
    images: Option<HashSet<String>>,
    before: Option<String>,
    since: Option<String>,
    names: Vec<Pattern>,
    exited: Vec<i32>,
    tasks: Option<bool>,
    exposed: Vec<Ports>,
    published: Vec<Ports>,
}

/// Text that is matched whole, or as a regular expression; one that is none
/// matches only itself, as in Docker.
pub struct Pattern(String, Option<regex_lite::Regex>);

impl Pattern {
    /// One of `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned(), regex_lite::Regex::new(text).ok())
    }

    /// Whether `text` is what is meant.
    pub fn fits(&self, text: &str) -> bool {
        self.0 == text || self.1.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// `80`, `80/udp`, `80-90/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    range: RangeInclusive<u16>,
    protocol: String,
}

impl Ports {
    fn parse(key: &str, text: &str) -> Result<Self> {
        if text.contains(':') {
            return Err(Error::invalid(format!("filter for '{key}' should not contain ':': {text}")));
        }
        let wrong = |why: String| Error::invalid(format!("error while looking up for {key} {text}: {why}"));
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if range.is_empty() {
            return Err(wrong("invalid port range: value is empty".to_owned()));
        }
        let number = |which: &str, text: &str| {
            text.parse::<u16>().map_err(|_| wrong(format!("invalid {which} port '{text}': invalid syntax")))
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number("start", from)?, number("end", to)?),
            None => (number("start", range)?, number("start", range)?),
        };
        if to < from {
            return Err(wrong(format!("invalid port range: {range}")));
        }
        Ok(Self { range: from..=to, protocol: protocol.to_ascii_lowercase() })
    }

    /// Whether a port such as `80/tcp` is among them.
    fn has(&self, port: &str) -> bool {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        protocol == self.protocol && number.parse().is_ok_and(|number: u16| self.range.contains(&number))
    }
}

/// Docker's words for a value that a filter does not have.
fn wrong(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("invalid filter '{key}={value}'{why}"))
}

fn one_of(filters: &Filters, key: &str, what: &str, known: &[&str]) -> Result<()> {
    match filters.get(key).iter().find(|value| !known.contains(&value.as_str())) {
        None => Ok(()),
        Some(value) => {
            let known = known.join(", ");
            Err(wrong(key, value, &format!(": invalid value for {what} ({value}): must be one of {known}")))
        }
    }
}

impl Selection {
    pub(super) async fn new(engine: &Engine, filters: &Filters) -> Result<Self> {
        let code = |text: &String| {
            let parsed = text.strip_prefix('+').unwrap_or(text).parse::<i32>();
            parsed.map_err(|_| wrong("exited", text, &format!(": strconv.Atoi: parsing {text:?}: invalid syntax")))
        };
        let exited = filters.get("exited").iter().map(code).collect::<Result<_>>()?;
        one_of(filters, "status", "state", STATES)?;
        let tasks = boolean(filters, "is-task")?;
        one_of(filters, "health", "health", HEALTHS)?;
        let created = |key: &str| -> Result<Option<String>> {
            let found: Option<Arc<Container>> =
                filters.get(key).last().map(|c| engine.containers.find(c)).transpose()?;
            Ok(found.map(|c| c.view().record.created.clone()))
        };
        let (before, since) = (created("before")?, created("since")?);
        let ports = |key: &str| filters.get(key).iter().map(|text| Ports::parse(key, text)).collect::<Result<_>>();
        Ok(Self {
            images: images(engine, filters.get("ancestor")).await,
            before,
            since,
            names: filters.get("name").iter().map(|text| Pattern::new(text)).collect(),
            exited,
            tasks,
            exposed: ports("expose")?,
            published: ports("publish")?,
        })
    }

    /// Whether a container is wanted.
    pub(super) fn fits(&self, engine: &Engine, filters: &Filters, view: &View) -> bool {
        let record = &view.record;
        let config = &record.config;
        let slashed = format!("/{}", record.name);
        let name = |pattern: &Pattern| pattern.fits(&slashed) || pattern.fits(&record.name);
        let health = record.health.as_ref().map_or("none".to_owned(), |health| health.status.to_string());
        let mounted = |want: &str| {
            record.mounts.iter().map(|mount| &mount.point).any(|mount| {
                let source = if mount.name.is_empty() { &mount.source } else { &mount.name };
                source == want || mount.destination == want
            })
        };
        (self.names.is_empty() || self.names.iter().any(name))
            && filters.any("id", |id| record.id.as_str().starts_with(id))
            // There is no swarm.
            && self.tasks != Some(true)
            && filters.labels(|key| config.labels.get(key).map(String::as_str))
            && filters.pairs("annotation", |key| record.host.annotations.get(key).map(String::as_str))
            && filters.any("isolation", |want| isolation_is(record.isolation.as_str(), want))
            && (self.exited.is_empty() || self.has_exited(view))
            && filters.any("status", |status| record.state.word() == status)
            && filters.any("health", |want| health == want)
            && filters.any("volume", mounted)
            && self.images.as_ref().is_none_or(|images| images.contains(&record.image_id))
            && self.before.as_ref().is_none_or(|before| record.created < *before)
            && self.since.as_ref().is_none_or(|since| record.created > *since)
            && filters.any("network", |want| self.is_on(engine, view, want))
            && self.has_ports(engine, view)
    }

    /// By a network's name or the beginning of its id.
    fn is_on(&self, engine: &Engine, view: &View, want: &str) -> bool {
        view.record.networks.keys().any(|name| {
            let network = engine.networks.exactly(name);
            name == want || network.is_some_and(|network| !want.is_empty() && network.id.starts_with(want))
        })
    }

    fn has_exited(&self, view: &View) -> bool {
        let state = &view.record.state;
        let over = state.ended().is_some() && !state.is_running();
        over && self.exited.contains(&state.exit_code())
    }

    /// Ports that are exposed, or published: both show while the container runs, as in Docker.
    fn has_ports(&self, engine: &Engine, view: &View) -> bool {
        if self.exposed.is_empty() && self.published.is_empty() {
            return true;
        }
        let exposed = view.record.config.exposed_ports.iter().flatten();
        let is_exposed = |(port, _): (&String, _)| self.exposed.iter().any(|ports| ports.has(port));
        let listed = networks::listed_ports(engine, &view.record);
        let public = |port: &Port| {
            let number = port.public_port.map(|number| format!("{number}/{}", port.r#type));
            number.is_some_and(|number| self.published.iter().any(|ports| ports.has(&number)))
        };
        view.record.state.is_running() && (exposed.into_iter().any(is_exposed) || listed.iter().any(public))
    }
}

/// The images that `names` lead to; a name that leads nowhere is passed over.
async fn images(engine: &Engine, names: &[String]) -> Option<HashSet<String>> {
    if names.is_empty() {
        return None;
    }
    let mut found = HashSet::new();
    for name in names {
        if let Ok(image) = engine.images.resolve(name).await {
            found.insert(image.id.to_string());
        }
    }
    Some(found)
}

fn boolean(filters: &Filters, key: &str) -> Result<Option<bool>> {
    match filters.get(key) {
        [] => Ok(None),
        [value] if matches!(value.as_str(), "1" | "true") => Ok(Some(true)),
        [value] if matches!(value.as_str(), "0" | "false") => Ok(Some(false)),
        values => Err(wrong(key, &values.join(" "), "")),
    }
}

fn isolation_is(isolation: &str, want: &str) -> bool {
    let want = want.to_ascii_lowercase();
    want == isolation || (want == "vm" && isolation == "hyperv")
}

/// `until` and labels of a prune.
pub(super) struct Old {
    until: Option<chrono::DateTime<chrono::Utc>>,
}

impl Old {
    /// What a prune may be filtered by.
    pub(super) const KNOWN: &'static [&'static str] = &["label", "label!", "until"];

    pub(super) fn new(filters: &Filters) -> Result<Self> {
        filters.only(Self::KNOWN)?;
        match filters.get("until") {
            [] => Ok(Self { until: None }),
            [text] => {
                let until = time::parse_query("until", text)
                    .map_err(|_| Error::invalid(format!("invalid value for 'until' filter: {text}")))?;
                Ok(Self { until })
            }
            _ => Err(Error::invalid("more than one until filter specified")),
        }
    }

    pub(super) fn fits(&self, filters: &Filters, view: &View) -> bool {
        let labels = &view.record.config.labels;
        let label = |key: &str| labels.get(key).map(String::as_str);
        let created = time::parse(&view.record.created);
        self.until.is_none_or(|until| created.is_none_or(|created| created <= until))
            && filters.labels(label)
            // Only a container that has all of them is spared, as in Docker.
            && (filters.get("label!").is_empty() || !filters.pairs("label!", label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_their_texts() {
        let ports = Ports::parse("expose", "80-90/UDP").unwrap();
        assert!(ports.has("85/udp") && !ports.has("85/tcp") && !ports.has("91/udp"));
        assert!(Ports::parse("expose", "80").unwrap().has("80/tcp"));
        let text = |text| Ports::parse("publish", text).unwrap_err().message;
        assert_eq!(text("1:2"), "filter for 'publish' should not contain ':': 1:2");
        assert_eq!(text("x"), "error while looking up for publish x: invalid start port 'x': invalid syntax");
        assert_eq!(text("9-8"), "error while looking up for publish 9-8: invalid port range: 9-8");
    }

    #[test]
    fn a_pattern_that_is_no_expression_matches_itself() {
        let pattern = Pattern::new("a(");
        assert!(pattern.fits("a(") && !pattern.fits("a"));
        assert!(Pattern::new("^b.x$").fits("box"));
    }
}
