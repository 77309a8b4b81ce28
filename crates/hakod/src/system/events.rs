//! `GET /events`: one JSON object a line, until `until` or for ever.

use crate::{
    Engine,
    http::{Request, Response, streaming},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hako_api::{Filters, time::parse_query, types::Event};
use hako_model::Result;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

const KNOWN: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Streams events.
pub fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let since = parse_query("since", req.query.get("since"))?;
    let until = parse_query("until", req.query.get("until"))?;
    let filters = Filters::parse(req.query.get("filters"))?;
    filters.only(KNOWN)?;
    let (kept, mut live) = engine.events.subscribe();
    let (sender, response) = streaming("application/json");
    tokio::spawn(async move {
        if let Some(since) = since {
            for event in kept.iter().filter(|e| within(e, since, until) && fits(&filters, e)) {
                if sender.send(line(event)).await.is_err() {
                    return;
                }
            }
        }
        let left = until.map(|until| (until - Utc::now()).to_std().unwrap_or_default());
        let end = async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                event = live.recv() => match event {
                    Ok(event) if fits(&filters, &event) => {
                        if sender.send(line(&event)).await.is_err() { return; }
                    }
                    // Lagged: a client that does not read loses events, as with dockerd.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = &mut end => return,
                () = sender.closed() => return,
            }
        }
    });
    Ok(response)
}

fn line(event: &Event) -> Bytes {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn within(event: &Event, since: DateTime<Utc>, until: Option<DateTime<Utc>>) -> bool {
    let time = DateTime::from_timestamp_nanos(event.time_nano);
    time >= since && until.is_none_or(|until| time <= until)
}

fn fits(filters: &Filters, event: &Event) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str);
    let about = |kind: &str, want: &str| {
        event.kind == kind
            && (event.actor.id == want
                || attribute("name") == Some(want.trim_start_matches('/'))
                || (want.len() >= 12 && event.actor.id.starts_with(want)))
    };
    let image = |want: &str| {
        let name = if event.kind == "image" { attribute("name") } else { attribute("image") };
        let untagged = |n: &str| n.rsplit_once(':').is_some_and(|(repo, tag)| !tag.contains('/') && repo == want);
        (event.kind == "image" && event.actor.id == want) || name.is_some_and(|n| n == want || untagged(n))
    };
    // `exec_create: sh` is filtered by `exec_create`; `health_status: healthy` likewise.
    let action = event.action.split(':').next().unwrap_or_default();
    filters.any("type", |kind| event.kind == kind)
        && filters.any("event", |want| event.action == want || action == want)
        && filters.any("container", |want| about("container", want))
        && filters.any("image", image)
        && filters.any("scope", |scope| event.scope == scope)
        && ["config", "daemon", "network", "node", "plugin", "secret", "service", "volume"]
            .iter()
            .all(|kind| filters.any(kind, |want| about(kind, want)))
        && filters.labels(attribute)
}
