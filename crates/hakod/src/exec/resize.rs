//! `POST /exec/{id}/resize`.

use super::State;
use crate::{
    Engine,
    containers::resize::size,
    http::{Request, Response, empty},
};
use hako_model::{Error, Result};
use hyper::StatusCode;
use std::{sync::Arc, time::Duration};

/// How long a start is waited for, as in dockerd: clients say the size while
/// they start it, and give up after a few tries.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets the size of the process's tty.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let exec = engine.execs.find(&req.param)?;
    let (width, height) = size(&req.query)?;
    if !matches!(exec.started(PATIENCE).await, State::Running { .. }) {
        return Err(Error::conflict(format!("exec {} is not running", exec.id)));
    }
    let live = engine.containers.find(&exec.container)?.live()?;
    live.resize(&exec.id, width, height).await?;
    Ok(empty(StatusCode::OK))
}
