//! Requests to the engine.

use super::autostart::Engine;
use super::connect::{Io, TlsFlags, connect};
use super::{Host, Messages};
use crate::error::{Error, Result, reason};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;

/// What a request carries.
pub(crate) enum RequestBody {
    /// Nothing.
    None,
    /// A JSON document.
    Json(Value),
    /// A tar archive, as it comes.
    Tar(UnsyncBoxBody<Bytes, io::Error>),
}

/// A connection that has become a byte stream in both directions.
pub(crate) struct Hijacked {
    /// The stream.
    pub(crate) io: TokioIo<hyper::upgrade::Upgraded>,
}

/// The engine, as one command sees it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    host: Host,
    tls: TlsFlags,
    engine: Engine,
    prefix: String,
}

impl Client {
    /// A client of the engine at `host`, which `engine` may start if it is its own.
    pub(crate) fn new(host: Host, tls: TlsFlags, engine: Engine) -> Self {
        // Without a version the engine answers with its newest, which this client reads.
        let prefix =
            std::env::var("HAKO_API_VERSION").map(|v| format!("/v{}", v.trim_start_matches('v'))).unwrap_or_default();
        Self { host, tls, engine, prefix }
    }

    /// The engine that belongs to the default socket.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The address.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    async fn open(&self) -> Result<Box<dyn Io>> {
        let absent = match connect(&self.host, &self.tls).await {
            Ok(stream) => return Ok(stream),
            Err(err) => err,
        };
        let gone = matches!(absent.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if gone && self.engine.owns(&self.host) {
            self.engine.start().await?;
            return connect(&self.host, &self.tls).await.map_err(|err| self.unreachable(&err));
        }
        Err(self.unreachable(&absent))
    }

    fn unreachable(&self, err: &io::Error) -> Error {
        let hint = match err.kind() {
            io::ErrorKind::PermissionDenied => " (run as root, or as a member of the group that owns the socket)",
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "; is hakod running there?",
            _ => "",
        };
        Error::Connect { host: self.host.to_string(), reason: format!("{}{hint}", reason(err)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>> {
        let io = TokioIo::new(self.open().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, "hako")
            .header(header::USER_AGENT, concat!("hako/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let never = |never: std::convert::Infallible| match never {};
        let (content_type, body) = match body {
            RequestBody::None => (None, UnsyncBoxBody::new(Empty::new().map_err(never))),
            RequestBody::Json(value) => {
                (Some("application/json"), UnsyncBoxBody::new(Full::new(Bytes::from(value.to_string())).map_err(never)))
            }
            RequestBody::Tar(body) => (Some("application/x-tar"), body),
        };
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(|err| Error::msg(err.to_string()))?;
        let response = sender.send_request(request).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(read_error(response).await);
        }
        Ok(response)
    }

    /// A request whose answer's body is read by the caller.
    pub(crate) async fn stream(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
        headers: &[(&str, &str)],
    ) -> Result<Incoming> {
        Ok(self.send(method, path, body, headers).await?.into_body())
    }

    /// A request that is answered by a row of JSON objects.
    pub(crate) async fn messages(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
        headers: &[(&str, &str)],
    ) -> Result<Messages> {
        Ok(Messages::new(self.stream(method, path, body, headers).await?))
    }

    async fn json(&self, method: Method, path: &str, body: RequestBody) -> Result<Value> {
        let bytes = self.stream(method, path, body, &[]).await?.collect().await?.to_bytes();
        if bytes.trim_ascii().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, RequestBody::None).await
    }

    /// HEAD: one header of the answer.
    pub(crate) async fn head(&self, path: &str, header: &str) -> Result<Option<String>> {
        let response = self.send(Method::HEAD, path, RequestBody::None, &[]).await?;
        Ok(response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned))
    }

    /// POST without a body.
    pub(crate) async fn post(&self, path: &str) -> Result<Value> {
        self.json(Method::POST, path, RequestBody::None).await
    }

    /// POST of a JSON document.
    pub(crate) async fn post_json(&self, path: &str, body: Value) -> Result<Value> {
        self.json(Method::POST, path, RequestBody::Json(body)).await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.json(Method::DELETE, path, RequestBody::None).await
    }

    /// POST that turns its connection into a byte stream.
    pub(crate) async fn hijack(&self, path: &str, body: RequestBody) -> Result<Hijacked> {
        let response = self.send(Method::POST, path, body, &[("connection", "Upgrade"), ("upgrade", "tcp")]).await?;
        if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::msg(format!(
                "the engine does not hand over the connection (HTTP {})",
                response.status()
            )));
        }
        Ok(Hijacked { io: TokioIo::new(hyper::upgrade::on(response).await?) })
    }
}

/// The engine's text of an error response.
async fn read_error(response: Response<Incoming>) -> Error {
    let status = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(err) => return err.into(),
    };
    let message = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| value.get("message").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
    let message = if message.is_empty() { status.to_string() } else { message };
    Error::Api { status: status.as_u16(), message }
}
