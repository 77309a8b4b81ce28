//! `POST /containers/{id}/wait`.

use super::actor::View;
use crate::{
    Engine,
    http::{Request, Response, streaming},
};
use bytes::Bytes;
use hako_api::types::WaitAnswer;
use hako_model::{Error, Result};
use std::sync::Arc;

enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// The headers go out at once, so that a client knows that it waits before it
/// starts the container; the body follows when the condition holds.
pub fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let condition = match req.query.get("condition") {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
    };
    let mut watch = container.watch();
    let exits = watch.borrow().exits;
    let (sender, response) = streaming("application/json");
    tokio::spawn(async move {
        let holds = |view: &Arc<View>| {
            view.removed
                || match condition {
                    Condition::NotRunning => !view.record.state.is_running(),
                    Condition::NextExit => view.exits > exits,
                    Condition::Removed => false,
                }
        };
        tokio::select! {
            // An error means that the owner is gone; its last view stays.
            _ = watch.wait_for(holds) => {}
            () = sender.closed() => return,
        }
        let code = watch.borrow().record.state.exit_code();
        let answer = WaitAnswer { status_code: i64::from(code), error: None };
        let mut text = serde_json::to_vec(&answer).unwrap_or_default();
        text.push(b'\n');
        // The client may have gone.
        let _ = sender.send(Bytes::from(text)).await;
    });
    Ok(response)
}
