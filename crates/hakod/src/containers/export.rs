//! `GET /containers/{id}/export`.

use super::{
    actor::{self, Request as Ask},
    archive::frames,
};
use crate::{
    Engine,
    http::{Request, Response, body_of},
};
use hako_model::Result;
use hako_task::files::FilesRequest;
use std::sync::Arc;

/// A tar of the root filesystem, without what is mounted in it.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let context = |err: hako_model::Error| err.context(format!("Error exporting container {}", req.param));
    let lease = container.ask(Ask::Files).await.map_err(context)?;
    let (stream, _) = lease.open(&FilesRequest::Export).await.map_err(context)?;
    actor::emit(engine, &container.view().record, "export", &[]);
    Ok(body_of("application/octet-stream", frames(lease, stream)))
}
