//! A process's streams over the agent's channel.

use crate::{Input, Output, Stdio, StdioRequest};
use hako_model::{Error, Result};
use hako_task::{
    mux::{Mux, MuxStream},
    stdio::{Ack, StdStream, StreamHead, read_line, write_line},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::AbortHandle,
};

/// Opens a stream and waits until the agent has taken it.
pub(super) async fn open_stream(mux: &Mux, head: &StreamHead) -> Result<MuxStream> {
    let broken = |err: io::Error| Error::internal(format!("the agent's channel: {err}"));
    let mut stream = mux.open().await.map_err(broken)?;
    write_line(&mut stream, head).await.map_err(broken)?;
    let ack: Ack = read_line(&mut stream).await.map_err(broken)?;
    match ack.error {
        None => Ok(stream),
        Some(text) => Err(Error::internal(format!("the agent refused a stream: {text}"))),
    }
}

/// Opens the streams of one process, all at once.
pub(super) async fn open_stdio(
    mux: &Mux,
    channel: &AbortHandle,
    id: &str,
    exec_id: &str,
    request: StdioRequest,
) -> Result<Stdio> {
    let open = async |wanted: bool, stream: StdStream| -> Result<Option<MuxStream>> {
        if !wanted {
            return Ok(None);
        }
        let head = StreamHead::Stdio { id: id.to_owned(), exec_id: exec_id.to_owned(), stream };
        open_stream(mux, &head).await.map(Some)
    };
    let (stdin, stdout, stderr) = tokio::try_join!(
        open(request.stdin, StdStream::Stdin),
        open(true, StdStream::Stdout),
        open(!request.terminal, StdStream::Stderr),
    )?;
    let output = |stream| -> Output { Box::new(GuestOutput { stream, channel: channel.clone() }) };
    let stdin = stdin.map(|stream| -> Input { Box::new(GuestInput(Some(stream))) });
    Ok(Stdio { stdin, stdout: stdout.map(output), stderr: stderr.map(output) })
}

/// Output of a process in the guest. It ends where the process's does; where
/// the channel ended first, it fails.
struct GuestOutput {
    stream: MuxStream,
    channel: AbortHandle,
}

impl AsyncRead for GuestOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 && self.channel.is_finished() {
            let text = "the virtual machine ended before this stream did";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Input of a process in the guest; being dropped is its end, not its failure.
struct GuestInput(Option<MuxStream>);

impl GuestInput {
    fn stream(&mut self) -> io::Result<Pin<&mut MuxStream>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for GuestInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for GuestInput {
    fn drop(&mut self) {
        // Dropped as it is, yamux would reset the stream, and bytes on their way could be lost.
        if let (Some(mut stream), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                // A process that has gone needs no end of input.
                let _ = stream.shutdown().await;
                // Until the agent closes its side: a reset would overtake nothing, but spares it the log line.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    }
}
