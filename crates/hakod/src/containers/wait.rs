//! `POST /containers/{id}/wait`.

use super::{actor::View, record::State, view::End};
use crate::{
    Engine,
    http::{Request, Response, streaming},
};
use bytes::Bytes;
use hako_api::{
    ApiVersion,
    types::{WaitAnswer, container::WaitError},
};
use hako_model::{Error, Result};
use serde_json::Value;
use std::sync::Arc;

/// From this version on an absent error is left out.
const WITHOUT_NULL: ApiVersion = ApiVersion::new(1, 42);

#[derive(Debug, Clone, Copy)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

impl Condition {
    fn of(text: &str) -> Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            other => Err(Error::invalid(format!("invalid condition: {other:?}"))),
        }
    }

    /// Whether it holds for one who has waited since `ends` ends. As in Docker,
    /// the end of a run counts even if the container is started again at once.
    fn holds(self, view: &View, ends: u64) -> bool {
        let state = &view.record.state;
        view.removed
            || match self {
                Self::NotRunning => view.ends.count() > ends || !(state.is_running() || state.is_starting()),
                Self::NextExit => view.ends.count() > ends,
                // Nobody tries again by himself to remove it.
                Self::Removed => matches!(state, State::Dead { .. }),
            }
    }

    fn answer(self, view: &View, ends: u64) -> End {
        match self {
            Self::NotRunning | Self::NextExit => view.ends.after(ends).cloned().unwrap_or_else(|| view.end()),
            Self::Removed => view.end(),
        }
    }
}

/// The headers go out at once, so that a client knows that it waits before it
/// starts the container; the body follows when the condition holds.
pub fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let condition = Condition::of(req.query.get("condition"))?;
    let container = engine.containers.find(&req.param)?;
    let version = req.version;
    let mut watch = container.watch();
    let ends = watch.borrow().ends.count();
    let (sender, response) = streaming("application/json");
    tokio::spawn(async move {
        tokio::select! {
            // An error means that the owner is gone; its last view stays.
            _ = watch.wait_for(|view| condition.holds(view, ends)) => {}
            () = sender.closed() => return,
        }
        let end = condition.answer(&watch.borrow(), ends);
        // The client may have gone.
        let _ = sender.send(body(&end, version)).await;
    });
    Ok(response)
}

fn body(end: &End, version: ApiVersion) -> Bytes {
    let error = end.error.clone().map(|message| WaitError { message });
    let null = error.is_none() && version < WITHOUT_NULL;
    let answer = WaitAnswer { error, status_code: i64::from(end.code) };
    let mut answer = serde_json::to_value(&answer).unwrap_or_default();
    if null {
        answer["Error"] = Value::Null;
    }
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_null_or_left_out() {
        let text = |error: Option<&str>, minor| {
            let end = End { code: 3, error: error.map(str::to_owned) };
            String::from_utf8(body(&end, ApiVersion::new(1, minor)).to_vec()).unwrap()
        };
        assert_eq!(text(None, 41), "{\"StatusCode\":3,\"Error\":null}\n");
        assert_eq!(text(None, 42), "{\"StatusCode\":3}\n");
        assert_eq!(text(Some("x"), 44), "{\"Error\":{\"Message\":\"x\"},\"StatusCode\":3}\n");
    }
}
