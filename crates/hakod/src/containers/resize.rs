//! `POST /containers/{id}/resize`.

use crate::{
    Engine,
    http::{Query, Request, Response, empty},
};
use hako_model::{Error, Result};
use hyper::StatusCode;
use std::sync::Arc;

/// Sets the size of the container's tty.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let (width, height) = size(&req.query)?;
    container.live()?.resize("", width, height).await?;
    super::actor::emit(
        engine,
        &container.view().record,
        "resize",
        &[("height", height.to_string()), ("width", width.to_string())],
    );
    Ok(empty(StatusCode::OK))
}

/// `w` and `h`.
pub fn size(query: &Query) -> Result<(u32, u32)> {
    let number = |key: &str| {
        let text = query.get(key);
        text.parse::<u16>().map(u32::from).map_err(|_| Error::invalid(format!("invalid value for \"{key}\": {text:?}")))
    };
    Ok((number("w")?, number("h")?))
}
