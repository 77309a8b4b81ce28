//! `GET /containers/{id}/top`: what `ps` would say of the container's
//! processes. Their facts come from the side of the wall where they run; this
//! renders them, so no `ps` need be there, and both walls say it the same way.

mod arguments;
mod columns;

use crate::{
    Engine,
    http::{Request, Response, json},
};
use columns::{Column, Facts};
use hako_api::types::TopAnswer;
use hako_model::{Error, ErrorKind, Result};
use std::sync::Arc;

const DEFAULT: &str = "-ef";

/// Lists the processes.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let asked = req.query.get("ps_args");
    let columns = arguments::parse(if asked.is_empty() { DEFAULT } else { asked })?;
    if !columns.iter().any(|column| column.title == "PID") {
        return Err(Error::internal("Couldn't find PID field in ps output"));
    }
    let view = container.view();
    if view.record.state.word() == "restarting" {
        return Err(Error::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            container.id
        )));
    }
    let list = container.live()?.processes().await.map_err(|err| match err.kind {
        // It has ended since.
        ErrorKind::NotFound | ErrorKind::Unavailable => {
            Error::conflict(format!("container {} is not running", container.id))
        }
        _ => err,
    })?;
    let facts = Facts::new(list.uptime, list.memory);
    let row = |process| columns.iter().map(|column: &Column| facts.show(column.what, process)).collect();
    let answer = TopAnswer {
        titles: columns.iter().map(|column| column.title.clone()).collect(),
        processes: list.processes.iter().map(row).collect(),
    };
    super::emit(engine, &view.record, "top", &[]);
    Ok(json(&answer))
}
