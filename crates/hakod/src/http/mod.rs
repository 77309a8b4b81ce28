//! The HTTP side: what a handler gets and what it answers.
//!
//! A handler is `async fn(&Arc<Engine>, Request) -> Result<Response>`; its error
//! becomes `{"message": …}` with the status of its kind.

pub mod hijack;
mod listen;
mod peer;
mod query;
mod router;
mod server;
mod tls;
pub mod websocket;

pub use listen::{Host, Listener, bind};
pub use peer::Peer;
pub use query::Query;
pub use server::serve;
pub use tls::acceptor;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use hako_api::ApiVersion;
use hako_model::{Error, Result};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub type Response = hyper::Response<Body>;

/// The most that a JSON body may have.
const MAX_JSON: usize = 16 << 20;

/// A request that the router has matched.
pub struct Request {
    /// The version of the path's prefix.
    pub version: ApiVersion,
    /// What the path's placeholder stands for, decoded (`{name}`, `{id}`).
    pub param: String,
    /// The query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Incoming,
    /// Who asks.
    pub peer: Peer,
    /// Present on every request; resolves once an answer with status 101 was sent.
    pub upgrade: hyper::upgrade::OnUpgrade,
    /// `HEAD` instead of `GET`.
    pub head: bool,
}

impl Request {
    /// The whole body, which must be small.
    ///
    /// # Errors
    /// `InvalidParameter` where it is too long or breaks off.
    pub async fn bytes(mut self) -> Result<Bytes> {
        self.read().await
    }

    /// [`Request::bytes`] for a handler that needs the rest of the request as well.
    ///
    /// # Errors
    /// As [`Request::bytes`].
    pub async fn read(&mut self) -> Result<Bytes> {
        match Limited::new(&mut self.body, MAX_JSON).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(err) => Err(Error::invalid(format!("cannot read the request's body: {err}"))),
        }
    }

    /// Whether the client asked for an upgrade of the connection.
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(hyper::header::UPGRADE)
    }
}

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// `status` with a JSON body.
#[must_use]
pub fn json_status(status: StatusCode, value: &impl Serialize) -> Response {
    // Docker's encoder ends every document with a line feed.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a JSON body.
#[must_use]
pub fn json(value: &impl Serialize) -> Response {
    json_status(StatusCode::OK, value)
}

/// `status` without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// 204.
#[must_use]
pub fn no_content() -> Response {
    empty(StatusCode::NO_CONTENT)
}

/// 200 whose body is written piece by piece; every piece is sent at once. The
/// body ends when the sender is dropped. The sender learns that the client has
/// gone by a failed `send` or by `closed()`.
#[must_use]
pub fn streaming(content_type: &'static str) -> (mpsc::Sender<Bytes>, Response) {
    let (sender, receiver) = mpsc::channel(16);
    let mut response = Response::new(ChannelBody(receiver).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    (sender, response)
}

/// 200 with a body of pieces; an error breaks the answer off, so that the
/// client does not take what it has for the whole.
#[must_use]
pub fn body_of(content_type: &'static str, pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    let mut response = Response::new(StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer for `err`.
#[must_use]
pub fn error(err: &Error) -> Response {
    let status = hako_api::http_status(err.kind);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    json_status(status, &hako_api::ErrorResponse { message: err.message.clone() })
}

struct ChannelBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
