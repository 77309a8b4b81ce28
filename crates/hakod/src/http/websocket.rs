//! Connections that become WebSockets (RFC 6455): attach for browsers.

use super::{
    Request, Response, empty,
    hijack::{Client, Output},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, future};
use hako_model::{Error, Result};
use hyper::{
    StatusCode,
    header::{
        CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::sync::oneshot;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::io::StreamReader;

/// The most that a client may send in one message.
const MOST: usize = 1 << 20;

/// Answers `req` and runs `work` with the connection once the answer is out.
/// `multiplexed` is whether what `work` copies to the client is.
///
/// # Errors
/// `InvalidParameter` where the client does not ask for a WebSocket.
pub fn accept<F, Fut>(req: Request, multiplexed: bool, work: F) -> Result<Response>
where
    F: FnOnce(Client) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let text = |name: &HeaderName| req.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !text(&UPGRADE).eq_ignore_ascii_case("websocket") || text(&SEC_WEBSOCKET_VERSION) != "13" {
        return Err(Error::invalid("the request is no WebSocket handshake of version 13"));
    }
    let key = req.headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Error::invalid("the WebSocket handshake has no key"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|err| Error::internal(format!("key of the WebSocket handshake: {err}")))?;
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    tokio::spawn(async move {
        match req.upgrade.await {
            Ok(io) => serve(TokioIo::new(io), multiplexed, work).await,
            Err(err) => tracing::debug!("upgrade: {err}"),
        }
    });
    Ok(response)
}

async fn serve<F, Fut>(io: TokioIo<hyper::upgrade::Upgraded>, multiplexed: bool, work: F)
where
    F: FnOnce(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    let limits = WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let (sink, stream) = socket.split();
    let sink = sink.with(|bytes: Bytes| future::ready(Ok(Message::Binary(bytes)))).sink_map_err(broken);
    let (left, gone) = oneshot::channel::<()>();
    let mut left = Some(left);
    // A message's borders mean nothing; pings are answered by the library.
    let input = stream.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(text)) => Some(Ok(text.into())),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => None,
            Err(err) => Some(Err(broken(err))),
        })
    });
    // The end of what the client sends is its leaving: there is no half-open WebSocket.
    let ended = futures::stream::poll_fn(move |_| {
        drop(left.take());
        std::task::Poll::Ready(None)
    });
    let input = StreamReader::new(Box::pin(input.chain(ended)));
    let client = Client { input: Some(Box::pin(input)), output: Output::messages(Box::pin(sink), multiplexed) };
    tokio::select! {
        () = work(client) => {}
        // Dropped without a word.
        _ = gone => {}
    }
}

fn broken(err: tungstenite::Error) -> io::Error {
    match err {
        tungstenite::Error::Io(err) => err,
        other => io::Error::other(other),
    }
}
