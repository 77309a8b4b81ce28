//! Writing to stdout and stderr: at once for what a command prints, by a thread
//! of its own for what a container prints, so that a reader that is slow never
//! holds up signals and input.

use crate::error::Result;
use bytes::Bytes;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Which standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// Writes `text` to stdout; a closed pipe ends the program quietly.
pub(crate) fn print(text: &str) -> Result<()> {
    write_all(Target::Stdout, text.as_bytes()).map_err(Into::into)
}

/// Writes `text` and a newline to stdout.
pub(crate) fn print_line(text: impl std::fmt::Display) -> Result<()> {
    print(&format!("{text}\n"))
}

/// How many pieces wait for a slow reader before the engine's stream is held back.
const QUEUE: usize = 16;

/// The writer of a container's output; its thread starts with the first byte.
#[derive(Debug, Default)]
pub(crate) struct Output {
    writer: Option<Writer>,
    broken: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Writer {
    queue: mpsc::Sender<(Target, Bytes)>,
    done: oneshot::Receiver<()>,
}

impl Output {
    /// Queues one piece; waits while the queue is full.
    pub(crate) async fn write(&mut self, target: Target, data: Bytes) {
        if self.broken() {
            return;
        }
        let broken = &self.broken;
        let writer = self.writer.get_or_insert_with(|| Writer::start(broken.clone()));
        // The thread ends only when the queue closes or the pipe breaks.
        let _ = writer.queue.send((target, data)).await;
    }

    /// Whether the reader of stdout or stderr has gone.
    pub(crate) fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Waits until everything is written; the answer is false if a reader has gone.
    pub(crate) async fn finish(&mut self) -> bool {
        if let Some(writer) = self.writer.take() {
            drop(writer.queue);
            let _ = writer.done.await;
        }
        !self.broken()
    }
}

impl Writer {
    fn start(broken: Arc<AtomicBool>) -> Self {
        let (queue, mut pieces) = mpsc::channel::<(Target, Bytes)>(QUEUE);
        let (ended, done) = oneshot::channel();
        std::thread::spawn(move || {
            while let Some((target, data)) = pieces.blocking_recv() {
                if write_all(target, &data).is_err() {
                    broken.store(true, Ordering::Relaxed);
                    break;
                }
            }
            let _ = ended.send(());
        });
        Self { queue, done }
    }
}

/// Writes all of `data` past the standard library's line buffer.
fn write_all(target: Target, data: &[u8]) -> io::Result<()> {
    match target {
        Target::Stdout => Unbuffered(io::stdout().as_fd()).write_all(data),
        Target::Stderr => Unbuffered(io::stderr().as_fd()).write_all(data),
    }
}

struct Unbuffered<'a>(std::os::fd::BorrowedFd<'a>);

impl Write for Unbuffered<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(self.0, data) {
                // Somebody who shares the descriptor has made it non-blocking.
                Err(nix::errno::Errno::EAGAIN) => wait_writable(self.0)?,
                other => return other.map_err(Into::into),
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_writable(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE)?;
    Ok(())
}
