//! Requests of the Engine API without a client: what an engine costs alone.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Sends one request and returns the body of its answer, which must be a
/// success.
pub fn request(socket: &Path, method: &str, target: &str, body: Option<&serde_json::Value>) -> Result<String> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} /v1.41{target} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("reading the answer to {target}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("none");
    if !status.starts_with('2') {
        bail!("{method} {target}: status {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

/// The object of an answer, in one chunk or none.
pub fn json(body: &str) -> Result<serde_json::Value> {
    let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]).unwrap_or_default();
    serde_json::from_str(json).with_context(|| format!("reading {body:?}"))
}

/// The `Id` in such an answer.
pub fn id(body: &str) -> Result<String> {
    Ok(json(body)?["Id"].as_str().context("an answer without an id")?.to_owned())
}
