//! `hako events`.

use crate::api::{Client, Query, RequestBody};
use crate::error::Result;
use crate::flags::filters;
use crate::format::{Template, local_nanos, timestamp};
use crate::term::print_line;
use clap::Args;
use hyper::Method;
use serde_json::Value;

/// Follow what happens in the engine
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Events {
    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let time = |text: &Option<String>| text.as_deref().map(timestamp).transpose();
        let query = Query::default()
            .opt("since", time(&self.since)?.as_deref())
            .opt("until", time(&self.until)?.as_deref())
            .opt("filters", filters(&self.filter)?.as_deref());
        let format = self.format.as_deref().map(str::trim).filter(|format| !format.is_empty());
        let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
        let mut messages = client.messages(Method::GET, &query.on("/events"), RequestBody::None, &[]).await?;
        while let Some(event) = messages.next().await? {
            match &template {
                Some(template) if template.is_json() => print_line(template.render(&event)?)?,
                Some(template) => print_line(template.render(&go_names(event))?)?,
                None if format.is_some() => print_line(&event)?,
                None => print_line(line(&event))?,
            }
        }
        Ok(())
    }
}

/// The event with the names that its fields have in Docker's Go type.
fn go_names(mut event: Value) -> Value {
    for (json, go) in [
        ("status", "Status"),
        ("id", "ID"),
        ("from", "From"),
        ("scope", "Scope"),
        ("time", "Time"),
        ("timeNano", "TimeNano"),
    ] {
        let value = event[json].clone();
        event[go] = if value.is_null() { "".into() } else { value };
    }
    event
}

/// `TIME TYPE ACTION ID (key=value, …)`, the attributes in order of their keys.
fn line(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let nanos = event["timeNano"].as_i64().or_else(|| event["time"].as_i64()?.checked_mul(1_000_000_000)).unwrap_or(0);
    let mut out = format!("{} {} {} {}", local_nanos(nanos), text("/Type"), text("/Action"), text("/Actor/ID"));
    let mut attributes: Vec<String> = event
        .pointer("/Actor/Attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if !attributes.is_empty() {
        attributes.sort();
        out = format!("{out} ({})", attributes.join(", "));
    }
    out
}
