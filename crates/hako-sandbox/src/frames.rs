//! A tap device at either side of the wall, joined by a stream: the interfaces
//! of a virtual machine beyond its one network card.
//!
//! Both taps have the same header before each frame and take frames of up to
//! 64 KiB whose checksums are still to be made, so most of what TCP sends goes
//! through in few pieces and is never looked at here.
#![allow(unsafe_code)]
// UNSAFETY: registering a descriptor with the runtime's reactor.

use hako_os::tap::HEADER;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, unix::AsyncFd},
    task::JoinHandle,
};

/// The longest frame: a segment as long as IP can say, with its heads.
const FRAME: usize = 65_536 + HEADER + 64;
/// What is sent at once, if that much waits.
const BATCH: usize = 128 << 10;
/// The bytes of a length.
const LENGTH: usize = 4;

/// Joins `tap` and `stream` until [`part`] or until one of them ends; then
/// both are closed.
///
/// # Errors
/// The reactor's.
pub fn join<S>(tap: OwnedFd, stream: S) -> io::Result<JoinHandle<()>>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    // SAFETY: the file is owned, and lives in the AsyncFd until both are dropped.
    let tap = unsafe { AsyncFd::register(File::from(tap)) }?;
    Ok(tokio::spawn(async move {
        let (from, to) = tokio::io::split(stream);
        // Whichever ends first ends both.
        let ended = tokio::select! {
            ended = outward(&tap, to) => ended,
            ended = inward(BufReader::with_capacity(BATCH, from), &tap) => ended,
        };
        if let Err(err) = ended {
            tracing::debug!("an interface's frames: {err}");
        }
    }))
}

/// Ends what [`join`] began; both ends are closed then.
pub async fn part(joined: JoinHandle<()>) {
    joined.abort();
    // It was told to end: that it did not end by itself is no error.
    let _ = joined.await;
}

/// From the device, as many frames at once as there are.
async fn outward(tap: &AsyncFd<File>, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut batch = vec![0; BATCH + LENGTH + FRAME];
    loop {
        let mut ready = tap.readable().await?;
        let mut filled = 0;
        while filled < BATCH {
            let start = filled + LENGTH;
            match ready.try_io(|tap| tap.get_ref().read(&mut batch[start..start + FRAME])) {
                Ok(Ok(length)) => {
                    let head = u32::try_from(length).map_err(io::Error::other)?;
                    batch[filled..start].copy_from_slice(&head.to_be_bytes());
                    filled = start + length;
                }
                Ok(Err(err)) => return Err(err),
                Err(_would_block) => break,
            }
        }
        to.write_all(&batch[..filled]).await?;
        to.flush().await?;
    }
}

/// To the device. The other side is not trusted: a frame that makes no sense to
/// the kernel is dropped, as a wire would.
async fn inward(mut from: impl AsyncRead + Unpin, tap: &AsyncFd<File>) -> io::Result<()> {
    let mut frame = vec![0; FRAME];
    loop {
        let length = match from.read_u32().await {
            Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(err) => return Err(err),
        };
        let Some(frame) = frame.get_mut(..length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        };
        from.read_exact(frame).await?;
        write(tap, frame).await?;
    }
}

async fn write(tap: &AsyncFd<File>, frame: &[u8]) -> io::Result<()> {
    loop {
        let mut ready = tap.writable().await?;
        match ready.try_io(|tap| tap.get_ref().write(frame)) {
            // Also one that is down, or that the kernel cannot read.
            Ok(_) => return Ok(()),
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixDatagram, time::Duration};

    /// Datagrams keep their bounds, as frames do.
    fn device() -> (UnixDatagram, OwnedFd) {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (near, far.into())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn frames_keep_their_bounds() {
        let ((a, a_fd), (b, b_fd)) = (device(), device());
        let (left, right) = tokio::io::duplex(1000);
        join(a_fd, left).unwrap();
        let joined = join(b_fd, right).unwrap();
        let exchange = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; 70_000];
            for length in [1, 60, 1514, 65_000, 12] {
                let frame: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
                a.send(&frame).unwrap();
                let received = b.recv(&mut buffer).unwrap();
                assert!(buffer[..received] == frame[..], "{length} bytes");
                b.send(&frame[..1]).unwrap();
                assert_eq!(a.recv(&mut buffer).unwrap(), 1);
            }
        });
        exchange.await.unwrap();
        joined.abort();
    }

    #[tokio::test]
    async fn a_length_that_lies_ends_the_link() {
        let (_near, fd) = device();
        let (mut left, right) = tokio::io::duplex(1000);
        join(fd, right).unwrap();
        left.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let mut rest = Vec::new();
        left.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
}
