//! One attached connection, as far as output goes to it.

use hako_task::stdio::{AttachRequest, StdStream, frame_head};
use std::{io, os::fd::AsRawFd, sync::Arc};
use tokio::{
    io::AsyncWriteExt,
    net::unix::OwnedWriteHalf,
    sync::{Mutex, OwnedMutexGuard},
};

/// Room for the head of a frame before the data.
pub(super) const HEAD: usize = 8;

/// A client's end. Dropping the last reference ends its output.
#[derive(Debug)]
pub(super) struct Client {
    stdout: bool,
    stderr: bool,
    raw: bool,
    sink: Arc<Mutex<OwnedWriteHalf>>,
}

impl Client {
    /// A client, and its sink locked: nothing is sent before the guard is gone.
    pub(super) async fn new(
        req: &AttachRequest,
        raw: bool,
        sink: OwnedWriteHalf,
    ) -> (Self, OwnedMutexGuard<OwnedWriteHalf>) {
        let sink = Arc::new(Mutex::new(sink));
        let guard = sink.clone().lock_owned().await;
        (Self { stdout: req.stdout, stderr: req.stderr, raw, sink }, guard)
    }

    pub(super) fn wants(&self, stream: StdStream) -> bool {
        match stream {
            StdStream::Stdin => false,
            StdStream::Stdout => self.stdout,
            StdStream::Stderr => self.stderr,
        }
    }

    /// Sends the data behind the first [`HEAD`] bytes of `frame`, and waits
    /// until the client has taken it.
    pub(super) async fn send(&self, stream: StdStream, frame: &mut [u8]) -> io::Result<()> {
        let mut sink = self.sink.lock().await;
        if self.raw {
            return sink.write_all(&frame[HEAD..]).await;
        }
        let len = u32::try_from(frame.len() - HEAD).map_err(|_| io::ErrorKind::InvalidInput)?;
        frame[..HEAD].copy_from_slice(&frame_head(stream, len));
        sink.write_all(frame).await
    }

    /// Whether the other side has closed the connection altogether. A
    /// half-closed one still takes output, and so an empty write.
    pub(super) fn is_gone(&self) -> bool {
        let Ok(sink) = self.sink.try_lock() else { return false };
        let sent = nix::sys::socket::send(
            sink.as_ref().as_raw_fd(),
            &[],
            nix::sys::socket::MsgFlags::MSG_DONTWAIT | nix::sys::socket::MsgFlags::MSG_NOSIGNAL,
        );
        matches!(sent, Err(nix::errno::Errno::EPIPE | nix::errno::Errno::ECONNRESET))
    }
}
