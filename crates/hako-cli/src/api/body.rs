//! Bodies of requests that a thread of its own makes, a few pieces ahead.

use bytes::Bytes;
use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use std::io::{self, BufWriter, Write};
use tokio::sync::mpsc;

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Pieces that may wait for the engine.
const QUEUE: usize = 4;

/// The thread's end of a body.
pub(crate) struct Sink(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Sink {
    /// Hands a piece on; `BrokenPipe` where the engine has hung up.
    pub(crate) fn send(&self, piece: Bytes) -> io::Result<()> {
        self.0.blocking_send(Ok(Frame::data(piece))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.send(Bytes::copy_from_slice(data))?;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of which `make` hands on the pieces; with its error the body breaks off.
pub(crate) fn made(make: impl FnOnce(Sink) -> io::Result<()> + Send + 'static) -> Body {
    let (queue, pieces) = mpsc::channel::<io::Result<Frame<Bytes>>>(QUEUE);
    std::thread::spawn(move || {
        if let Err(err) = make(Sink(queue.clone())) {
            // The engine has hung up, or hears that the body breaks off.
            let _ = queue.blocking_send(Err(err));
        }
    });
    let stream =
        futures::stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) });
    UnsyncBoxBody::new(StreamBody::new(stream))
}

/// A body that `write` writes, in pieces of this length. It flushes by itself.
pub(crate) fn written(piece: usize, write: impl FnOnce(BufWriter<Sink>) -> io::Result<()> + Send + 'static) -> Body {
    made(move |sink| write(BufWriter::with_capacity(piece, sink)))
}
