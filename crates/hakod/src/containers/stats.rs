//! `GET /containers/{id}/stats`: once, twice (so that there is a difference to
//! make a percentage of), or every second.

mod collector;
mod reading;

pub use collector::Collectors;

use super::Container;
use crate::{
    Engine,
    http::{Request, Response, json, streaming},
};
use bytes::Bytes;
use hako_api::{
    ApiVersion,
    time::ZERO,
    types::{Stats, stats::CpuStats},
};
use hako_model::{Error, Result};
use std::sync::Arc;

/// Answers figures.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let stream = req.query.flag_or("stream", true);
    let one_shot = req.version >= ApiVersion::new(1, 41) && req.query.flag("one-shot");
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let mut shown = Shown { version: req.version, before: CpuStats::default(), read: ZERO.to_owned() };
    if stream {
        return Ok(follow(engine, container, shown));
    }
    if one_shot || container.view().live.is_none() {
        return Ok(json(&shown.next(&container, &reading::take(engine, &container).await?)));
    }
    let mut readings = engine.collectors.watch(engine, &container);
    let gone = || Error::not_found(format!("No such container: {}", req.param));
    let first = collector::next(&mut readings).await.ok_or_else(gone)?;
    shown.next(&container, &first);
    let second = collector::next(&mut readings).await.ok_or_else(gone)?;
    Ok(json(&shown.next(&container, &second)))
}

/// A line every second until the client goes or the container is removed.
fn follow(engine: &Arc<Engine>, container: Arc<Container>, mut shown: Shown) -> Response {
    let mut readings = engine.collectors.watch(engine, &container);
    let (sender, response) = streaming("application/json");
    tokio::spawn(async move {
        loop {
            tokio::select! {
                reading = collector::next(&mut readings) => {
                    let Some(reading) = reading else { return };
                    let mut line = serde_json::to_vec(&shown.next(&container, &reading)).unwrap_or_default();
                    line.push(b'\n');
                    if sender.send(Bytes::from(line)).await.is_err() { return; }
                }
                () = sender.closed() => return,
            }
        }
    });
    response
}

/// What one client sees: each reading with the one before it.
struct Shown {
    version: ApiVersion,
    before: CpuStats,
    read: String,
}

impl Shown {
    fn next(&mut self, container: &Container, reading: &Stats) -> Stats {
        Stats {
            name: format!("/{}", container.view().record.name),
            id: container.id.to_string(),
            os_type: (self.version >= ApiVersion::new(1, 52)).then(|| "linux".to_owned()),
            precpu_stats: std::mem::replace(&mut self.before, reading.cpu_stats.clone()),
            preread: std::mem::replace(&mut self.read, reading.read.clone()),
            ..reading.clone()
        }
    }
}
