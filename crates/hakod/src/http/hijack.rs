//! Connections that leave HTTP: attach and exec.
//!
//! With `Upgrade: tcp` the answer is 101 and the bytes flow both ways. Without
//! it (old clients, `curl`) the answer is 200 with a streamed body, and there is
//! no way in: HTTP has no half-open answer.

use super::{Request, Response, empty, streaming};
use bytes::Bytes;
use futures::{Sink, SinkExt};
use hako_api::ApiVersion;
use hako_task::stdio::FRAME_HEAD;
use hyper::{
    StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE},
};
use hyper_util::rt::TokioIo;
use std::{io, pin::Pin};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

/// The client's side of a hijacked connection.
pub struct Client {
    /// What the client sends; `None` where it has no way to.
    pub input: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// What the client reads.
    pub output: Output,
}

/// The way to the client.
pub struct Output {
    way: Way,
    /// The end of the stream waits for this.
    end: Option<oneshot::Receiver<()>>,
    /// What is copied is multiplexed, and this client shall not see it so.
    demultiplex: bool,
}

/// Takes whole messages.
pub type Messages = Pin<Box<dyn Sink<Bytes, Error = io::Error> + Send>>;

enum Way {
    /// An upgraded connection.
    Raw(Pin<Box<dyn AsyncWrite + Send>>),
    /// A streamed body.
    Body(mpsc::Sender<Bytes>),
    /// A WebSocket.
    Messages(Messages),
}

impl Output {
    fn new(way: Way) -> Self {
        Self { way, end: None, demultiplex: false }
    }

    /// A WebSocket's, which carries plain bytes whatever the process's streams are.
    #[must_use]
    pub fn messages(messages: Messages, multiplexed: bool) -> Self {
        Self { demultiplex: multiplexed, ..Self::new(Way::Messages(messages)) }
    }

    /// Whether this client takes plain bytes of a process without a tty.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.demultiplex
    }

    /// The same, whose end the client sees only after `end` (or its sender's end).
    #[must_use]
    pub fn until(self, end: oneshot::Receiver<()>) -> Self {
        Self { end: Some(end), ..self }
    }

    /// Sends `bytes`, waiting for the client to take them.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Raw(io) => {
                io.write_all(bytes).await?;
                io.flush().await
            }
            Way::Body(sender) => {
                sender.send(Bytes::copy_from_slice(bytes)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
            }
            Way::Messages(messages) => messages.send(Bytes::copy_from_slice(bytes)).await,
        }
    }

    /// Ends the stream towards the client.
    pub async fn finish(&mut self) {
        if let Some(end) = self.end.take() {
            // Sent or dropped: either way nothing more is to be waited for.
            let _ = end.await;
        }
        // The client may have gone already.
        let _ = match &mut self.way {
            Way::Raw(io) => io.shutdown().await,
            Way::Messages(messages) => messages.close().await,
            Way::Body(_) => Ok(()),
        };
    }

    /// Copies `from` to the client until its end.
    ///
    /// # Errors
    /// The client has gone, or the source failed.
    pub async fn copy(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let mut buffer = vec![0; 32 << 10];
        if self.demultiplex {
            return self.copy_frames(from, &mut buffer).await;
        }
        loop {
            let n = from.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            self.send(&buffer[..n]).await?;
        }
    }

    /// Copies what the frames carry, in pieces of at most the buffer's size.
    async fn copy_frames(&mut self, from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<()> {
        let mut head = [0; FRAME_HEAD];
        loop {
            match from.read_exact(&mut head).await {
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            };
            let mut left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            while left > 0 {
                let part = left.min(buffer.len());
                from.read_exact(&mut buffer[..part]).await?;
                self.send(&buffer[..part]).await?;
                left -= part;
            }
        }
    }
}

/// The type of a stream: raw with a tty, multiplexed without one.
#[must_use]
pub fn content_type(tty: bool, version: ApiVersion) -> &'static str {
    if tty || version < ApiVersion::new(1, 42) {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

/// Answers `req` and runs `work` with the connection once the answer is out.
pub fn hijack<F, Fut>(req: Request, content_type: &'static str, work: F) -> Response
where
    F: FnOnce(Client) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    if !req.wants_upgrade() {
        let (sender, response) = streaming(content_type);
        tokio::spawn(async move { work(Client { input: None, output: Output::new(Way::Body(sender)) }).await });
        return response;
    }
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    tokio::spawn(async move {
        match req.upgrade.await {
            Ok(io) => {
                let (input, output) = tokio::io::split(TokioIo::new(io));
                work(Client { input: Some(Box::pin(input)), output: Output::new(Way::Raw(Box::pin(output))) }).await;
            }
            Err(err) => tracing::debug!("upgrade: {err}"),
        }
    });
    response
}
