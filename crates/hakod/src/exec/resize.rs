//! `POST /exec/{id}/resize`.

use super::State;
use crate::{
    Engine,
    containers::resize::size,
    http::{Request, Response, empty},
};
use hako_model::{Error, Result};
use hyper::StatusCode;
use std::sync::Arc;

/// Sets the size of the process's tty.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let exec = engine.execs.find(&req.param)?;
    let (width, height) = size(&req.query)?;
    if !matches!(exec.state(), State::Running { .. }) {
        return Err(Error::conflict(format!("exec {} is not running", exec.id)));
    }
    let live = engine.containers.find(&exec.container)?.live()?;
    live.resize(&exec.id, width, height).await?;
    Ok(empty(StatusCode::OK))
}
