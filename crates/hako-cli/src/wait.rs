//! Waiting for a container's end.

use crate::api::{Client, Query, RequestBody, escape};
use crate::error::{Error, Result};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;

/// A wait that the engine has accepted: the end cannot be missed any more.
pub(crate) struct Waiting(Incoming);

/// Registers a wait for `condition` (`next-exit`, `removed`, `not-running`).
pub(crate) async fn register(client: &Client, id: &str, condition: &str) -> Result<Waiting> {
    let path = Query::default().set("condition", condition).on(format!("/containers/{}/wait", escape(id)));
    Ok(Waiting(client.stream(Method::POST, &path, RequestBody::None, &[]).await?))
}

impl Waiting {
    /// The exit code.
    pub(crate) async fn exit_code(self) -> Result<i32> {
        let failed =
            |text: String| Error::Exit { code: 125, message: Some(format!("error waiting for container: {text}")) };
        let lost = || failed("the connection to the engine was lost; the container may run on".into());
        let bytes = self.0.collect().await.map_err(|_| lost())?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| lost())?;
        if let Some(message) = answer.pointer("/Error/Message").and_then(Value::as_str).filter(|m| !m.is_empty()) {
            return Err(failed(message.to_owned()));
        }
        let code = answer.get("StatusCode").and_then(Value::as_i64);
        code.and_then(|code| i32::try_from(code).ok())
            .ok_or_else(|| failed("no exit code in the engine's answer".into()))
    }
}
