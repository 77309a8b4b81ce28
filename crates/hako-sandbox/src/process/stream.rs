//! A process's streams: pipe ends and pty masters, some of which open later.
//!
//! ```text
//!   shut ──open(fd)──► open ──(end of file)──► ended
//!     └──────────end()──────────────────────────▲
//! ```
//!
//! An exec's streams are handed out before the process is started. Until then
//! its stderr belongs to the runtime, whose error text is not the process's
//! output, and its tty does not exist yet: both are behind a shut [`Gate`].

#![allow(unsafe_code)]
// UNSAFETY: tokio asks its caller to promise that a registered descriptor is
// neither closed nor replaced.

use nix::errno::Errno;
use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

/// A descriptor that is not blocking and known to the runtime's reactor.
pub(super) type Fd = Arc<AsyncFd<OwnedFd>>;

#[derive(Debug)]
enum State {
    Shut(Vec<Waker>),
    Open(Fd),
    Ended,
}

/// Decides when the streams made from it open. Clones share the decision.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

impl Gate {
    /// A gate that lets nothing through yet.
    pub(super) fn shut() -> Self {
        Self(Arc::new(Mutex::new(State::Shut(Vec::new()))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_(&self, next: State) {
        if let State::Shut(waiting) = std::mem::replace(&mut *self.state(), next) {
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Lets the streams through to `fd`.
    pub(super) fn open(&self, fd: OwnedFd) -> io::Result<()> {
        self.become_(State::Open(register(fd)?));
        Ok(())
    }

    /// Ends the streams, unless they have been let through.
    fn give_up(&self) {
        if matches!(*self.state(), State::Shut(_)) {
            self.become_(State::Ended);
        }
    }

    /// The descriptor, while it is open.
    pub(super) fn fd(&self) -> Option<Fd> {
        match &*self.state() {
            State::Open(fd) => Some(fd.clone()),
            State::Shut(_) | State::Ended => None,
        }
    }

    /// A stream behind this gate; what ends it does not end the others.
    pub(super) fn stream(&self, kind: Kind) -> Stream {
        Stream { gate: Some(self.clone()), fd: None, kind }
    }
}

/// A gate whose streams end if it is dropped shut.
#[derive(Debug)]
pub(super) struct Keeper(pub(super) Gate);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Makes `fd` usable by the reactor.
fn register(fd: OwnedFd) -> io::Result<Fd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // SAFETY: the descriptor is owned, and lives in the AsyncFd, which hands it
    // out by reference only, until both are dropped.
    let fd = unsafe { AsyncFd::register(fd) }?;
    Ok(Arc::new(fd))
}

/// What a stream is, as far as its end is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shutting it down closes it.
    Pipe,
    /// Shutting it down does nothing; the other side's end reads as `EIO`.
    Tty,
}

/// One stream of a process.
#[derive(Debug)]
pub(super) struct Stream {
    gate: Option<Gate>,
    fd: Option<Fd>,
    kind: Kind,
}

impl Stream {
    /// The end of a pipe.
    pub(super) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { gate: None, fd: Some(register(fd)?), kind: Kind::Pipe })
    }

    /// The descriptor; `None` at the end.
    fn poll_fd(&mut self, cx: &mut Context<'_>) -> Poll<Option<Fd>> {
        if let Some(gate) = self.gate.take() {
            match &mut *gate.state() {
                State::Shut(waiting) => {
                    if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                        waiting.push(cx.waker().clone());
                    }
                    self.gate = Some(gate.clone());
                    return Poll::Pending;
                }
                State::Open(fd) => self.fd = Some(fd.clone()),
                State::Ended => {}
            }
        }
        Poll::Ready(self.fd.clone())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(fd) = ready!(self.poll_fd(cx)) else { return Poll::Ready(Ok(())) };
        loop {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            let into = buf.initialize_unfilled();
            match guard.try_io(|fd| nix::unistd::read(fd.get_ref(), into).map_err(io::Error::from)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // A pty whose last other end was closed says so by EIO.
                Ok(Err(err)) if self.kind == Kind::Tty && err.raw_os_error() == Some(Errno::EIO as i32) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(err)) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(err)) => return Poll::Ready(Err(err)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Some(fd) = ready!(self.poll_fd(cx)) else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut guard = ready!(fd.poll_write_ready(cx))?;
            match guard.try_io(|fd| nix::unistd::write(fd.get_ref(), data).map_err(io::Error::from)) {
                Ok(Err(err)) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kind == Kind::Pipe {
            self.fd = None;
            self.gate = None;
        }
        Poll::Ready(Ok(()))
    }
}
