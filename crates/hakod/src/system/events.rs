//! `GET /events`: one JSON object a line, until `until` or for ever.

use crate::{
    Engine,
    http::{Request, Response, streaming},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hako_api::{ApiVersion, Filters, time::parse_query, types::Event};
use hako_model::{Error, Result};
use hyper::{HeaderMap, header::ACCEPT};
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

/// Actions that carry more behind a colon: `exec_create: sh`.
const SPOKEN: &[&str] = &["exec_create", "exec_start", "health_status"];

/// How one client reads events.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// With the fields of before 1.22, which 1.52 has left out at last.
    old_fields: bool,
    /// RFC 7464: a record separator before each.
    sequence: bool,
}

/// Streams events.
pub fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let (text, now) = (|key| req.query.get(key), Utc::now());
    let since = parse_query("since", text("since"))?;
    let until = parse_query("until", text("until"))?;
    if since.zip(until).is_some_and(|(since, until)| until < since) {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            text("since"),
            text("until")
        )));
    }
    let filters = Filters::parse(text("filters"))?;
    filters.only(KNOWN)?;
    let content_type = content_type(&req.headers);
    let shape =
        Shape { old_fields: req.version < ApiVersion::new(1, 52), sequence: content_type == "application/json-seq" };
    let (kept, mut live) = engine.events.subscribe();
    let (sender, response) = streaming(content_type);
    tokio::spawn(async move {
        if since.is_some() || until.is_some() {
            for event in kept.iter().filter(|e| within(e, since, until) && fits(&filters, e)) {
                if sender.send(shape.render(event)).await.is_err() {
                    return;
                }
            }
        }
        let end = async move {
            match until.map(|until| (until - now).to_std()) {
                Some(Ok(left)) => tokio::time::sleep(left).await,
                // It has been.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return,
                event = live.recv() => match event {
                    Ok(event) if fits(&filters, &event) => {
                        if sender.send(shape.render(&event)).await.is_err() { return; }
                    }
                    // Lagged: a client that does not read loses events, as with dockerd.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                () = sender.closed() => return,
            }
        }
    });
    Ok(response)
}

/// The kind of lines that the client asks for; Docker's old name for them otherwise.
fn content_type(headers: &HeaderMap) -> &'static str {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let offered = ["application/jsonl", "application/x-ndjson", "application/json-seq"];
    let mut chosen = kinds.filter_map(|kind| offered.into_iter().find(|offer| *offer == kind));
    chosen.next().unwrap_or("application/json")
}

impl Shape {
    fn render(self, event: &Event) -> Bytes {
        let old = self.old_fields && matches!(event.kind.as_str(), "container" | "image");
        let mut shown = event.clone();
        if !old {
            (shown.status, shown.id, shown.from) = (String::new(), String::new(), String::new());
        }
        let mut text = if self.sequence { vec![0x1e] } else { Vec::new() };
        // An event is text and numbers, which can always be written.
        text.extend(serde_json::to_vec(&shown).unwrap_or_default());
        text.push(b'\n');
        text.into()
    }
}

fn within(event: &Event, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> bool {
    let time = DateTime::from_timestamp_nanos(event.time_nano);
    since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
}

fn fits(filters: &Filters, event: &Event) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str);
    let about = |kind: &str, want: &str| {
        // Beginnings do, as with dockerd.
        event.kind == kind
            && (event.actor.id.starts_with(want)
                || attribute("name").is_some_and(|name| name.starts_with(want.trim_start_matches('/'))))
    };
    let image = |want: &str| {
        let name = if event.kind == "image" { attribute("name") } else { attribute("image") };
        let untagged = |n: &str| n.rsplit_once(':').is_some_and(|(repo, tag)| !tag.contains('/') && repo == want);
        (event.kind == "image" && (event.actor.id == want || untagged(&event.actor.id)))
            || name.is_some_and(|n| n == want || untagged(n))
    };
    // One that names such an action without more makes all of them beginnings.
    let spoken = filters.get("event").iter().any(|want| SPOKEN.contains(&want.as_str()));
    filters.any("type", |kind| event.kind == kind)
        && filters.any("event", |want| event.action == want || (spoken && event.action.starts_with(want)))
        && filters.any("container", |want| about("container", want))
        && filters.any("image", image)
        && filters.any("scope", |scope| event.scope == scope)
        && ["config", "daemon", "network", "node", "plugin", "secret", "service", "volume"]
            .iter()
            .all(|kind| filters.any(kind, |want| about(kind, want)))
        && filters.labels(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_api::types::Actor;

    fn event(action: &str) -> Event {
        let attributes = [("name", "box"), ("image", "busybox:latest"), ("team", "a")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Event {
            status: action.to_owned(),
            id: "0123456789abcdef".to_owned(),
            kind: "container".to_owned(),
            action: action.to_owned(),
            actor: Actor { id: "0123456789abcdef".to_owned(), attributes },
            scope: "local".to_owned(),
            ..Event::default()
        }
    }

    #[test]
    fn filters_are_dockers() {
        let accepts = |filters: &str, action: &str| fits(&Filters::parse(filters).unwrap(), &event(action));
        assert!(accepts(r#"{"event":["exec_create"]}"#, "exec_create: sh"));
        assert!(!accepts(r#"{"event":["exec_die"]}"#, "exec_create: sh"));
        assert!(!accepts(r#"{"event":["start"]}"#, "starting"));
        assert!(accepts(r#"{"container":["bo"]}"#, "start") && accepts(r#"{"container":["0123"]}"#, "start"));
        assert!(!accepts(r#"{"container":["x"]}"#, "start"));
        assert!(accepts(r#"{"image":["busybox"]}"#, "start") && accepts(r#"{"image":["busybox:latest"]}"#, "start"));
        assert!(accepts(r#"{"label":["team=a"],"scope":["local"],"type":["container","image"]}"#, "start"));
        assert!(!accepts(r#"{"daemon":["x"]}"#, "start"));
    }

    #[test]
    fn shapes() {
        let old = Shape { old_fields: true, sequence: false }.render(&event("start"));
        assert!(old.starts_with(br#"{"status":"start","id":"0123"#));
        let new = Shape { old_fields: false, sequence: true }.render(&event("start"));
        assert!(new.starts_with(b"\x1e{\"Type\":\"container\"") && new.ends_with(b"}\n"));
        let headers = HeaderMap::from_iter([(ACCEPT, "text/html, application/x-ndjson;q=0.9".parse().unwrap())]);
        assert_eq!(content_type(&headers), "application/x-ndjson");
        assert_eq!(content_type(&HeaderMap::new()), "application/json");
    }
}
