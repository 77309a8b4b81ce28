//! Many streams over the one agent channel: yamux, with every stream usable as
//! a tokio `AsyncRead + AsyncWrite`. Flow control is per stream, so a container
//! whose output nobody reads does not stop its neighbours.

use futures::future::poll_fn;
use std::{collections::VecDeque, io, task::Poll};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

/// One stream.
pub type MuxStream = Compat<yamux::Stream>;

type Opener = oneshot::Sender<io::Result<MuxStream>>;

/// Opens streams; clones share the connection. The connection ends when the
/// transport does; every stream then reads its end.
#[derive(Debug, Clone)]
pub struct Mux {
    open: mpsc::Sender<Opener>,
}

/// The streams that the other side opens.
#[derive(Debug)]
pub struct Incoming(mpsc::UnboundedReceiver<MuxStream>);

impl Mux {
    /// Runs yamux over `io`. The host is the client, the guest the server.
    /// Must be called on a tokio runtime; the returned handle ends when the
    /// transport does.
    pub fn spawn<T>(io: T, host: bool) -> (Self, Incoming, tokio::task::JoinHandle<io::Result<()>>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mode = if host { Mode::Client } else { Mode::Server };
        let connection = Connection::new(io.compat(), Config::default(), mode);
        let (open, openers) = mpsc::channel(16);
        // Unbounded, yet limited: yamux refuses more than 512 streams at a time.
        let (accepted, incoming) = mpsc::unbounded_channel();
        let driver = tokio::spawn(drive(connection, openers, accepted));
        (Self { open }, Incoming(incoming), driver)
    }

    /// Opens a stream. yamux tells the other side with the first byte written.
    ///
    /// # Errors
    /// `BrokenPipe` once the transport has ended.
    pub async fn open(&self) -> io::Result<MuxStream> {
        let (reply, answer) = oneshot::channel();
        self.open.send(reply).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        answer.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }
}

impl Incoming {
    /// The next stream that the other side opened; `None` once the transport has ended.
    pub async fn accept(&mut self) -> Option<MuxStream> {
        self.0.recv().await
    }
}

async fn drive<T>(
    mut connection: Connection<Compat<T>>,
    mut openers: mpsc::Receiver<Opener>,
    accepted: mpsc::UnboundedSender<MuxStream>,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut waiting: VecDeque<Opener> = VecDeque::new();
    poll_fn(|cx| {
        loop {
            while let Poll::Ready(Some(opener)) = openers.poll_recv(cx) {
                waiting.push_back(opener);
            }
            let mut progress = false;
            if !waiting.is_empty()
                && let Poll::Ready(result) = connection.poll_new_outbound(cx)
            {
                let result = result.map(FuturesAsyncReadCompatExt::compat).map_err(io::Error::other);
                if let Some(opener) = waiting.pop_front() {
                    // A caller that gave up drops its end; the stream then closes by being dropped.
                    let _ = opener.send(result);
                }
                progress = true;
            }
            match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    // A receiver that is gone takes no streams: dropping one resets it.
                    let _ = accepted.send(stream.compat());
                    progress = true;
                }
                Poll::Ready(Some(Err(err))) => return Poll::Ready(Err(io::Error::other(err))),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if !progress {
                return Poll::Pending;
            }
        }
    })
    .await
}
