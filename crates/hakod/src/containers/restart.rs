//! `POST /containers/{id}/restart`.

use super::{actor, actor::Request as Ask, stop};
use crate::{
    Engine,
    http::{Request, Response, no_content},
};
use hako_model::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Stops a container if it runs, and starts it. Goes on if the client goes.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let (seconds, signal) = stop::options(req)?;
    let engine = engine.clone();
    let work = tokio::spawn(async move {
        let view = container.view();
        let keep = |keep: bool| container.ask(move |reply| Ask::Keep { keep, reply });
        let state = &view.record.state;
        if state.is_running() || state.is_starting() {
            keep(true).await?;
            let stopped = stop::stop(&engine, container.clone(), seconds, signal).await;
            if let Err(err) = stopped {
                keep(false).await?;
                return Err(err);
            }
        }
        let started = container.ask(Ask::Start).await;
        // A container of `--rm` that could not be started is gone.
        let _ = keep(false).await;
        match started {
            Err(err) if err.kind != ErrorKind::NotModified => return Err(err),
            Ok(()) | Err(_) => {}
        }
        actor::emit(&engine, &view.record, "restart", &[]);
        Ok(())
    });
    let done = work.await.map_err(|err| Error::internal(err.to_string()))?;
    done.map_err(|err| err.context(format!("Cannot restart container {}", req.param)))?;
    Ok(no_content())
}
