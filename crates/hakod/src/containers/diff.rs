//! `GET /containers/{id}/changes`.

use super::{
    actor::Request as Ask,
    files::{mount_points, not_made_yet},
};
use crate::{
    Engine,
    http::{Request, Response, json},
};
use hako_model::{Error, Result};
use hako_task::files::{self, Change, FilesRequest};
use std::sync::Arc;
use tokio::net::UnixStream;

/// More than this is not kept for one answer.
const MOST: usize = 64 << 20;

/// What differs from the image; `null` where nothing does.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let lease = container.ask(Ask::Files).await?;
    let hidden = mount_points(&not_made_yet(&container.view().record));
    let request = FilesRequest::Changes { hidden };
    let (stream, _) = lease.open(&request).await?;
    let changes = read(stream).await?;
    drop(lease);
    Ok(json(&(!changes.is_empty()).then_some(changes)))
}

/// One change a line; they may be a guest's.
async fn read(mut stream: UnixStream) -> Result<Vec<Change>> {
    let mut text = Vec::new();
    while let Some(frame) = files::next_frame(&mut stream).await.map_err(|err| files::broken(&err))? {
        text.extend_from_slice(&frame);
        if text.len() > MOST {
            return Err(Error::internal(format!("the list of changes has more than {MOST} bytes")));
        }
    }
    files::read_end(&mut stream).await?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let changes = lines.map(serde_json::from_slice::<Change>).collect::<std::result::Result<Vec<_>, _>>();
    let changes = changes.map_err(|err| Error::internal(format!("malformed change: {err}")))?;
    match changes.iter().find(|change| change.kind > 2) {
        Some(change) => Err(Error::internal(format!("malformed change of {}", change.path))),
        None => Ok(changes),
    }
}
