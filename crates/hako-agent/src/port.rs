//! The agent's virtio port as a byte stream.
#![allow(unsafe_code)]
// UNSAFETY: registering a descriptor with the runtime's reactor.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
    thread,
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

/// The name that QEMU gave it.
const NAME: &str = "hako.agent";
const CLASS: &str = "/sys/class/virtio-ports";
/// How long the kernel may take to find the port and to hear that the host
/// holds the other end.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);

/// Waits for the agent's port and opens it.
pub fn open() -> Result<File> {
    open_named(NAME, libc::O_NONBLOCK)
}

/// Waits for a port, opens it for reading and writing that block, and waits
/// until the host holds the other end.
pub fn open_blocking(name: &str) -> Result<File> {
    let file = open_named(name, 0)?;
    let start = Instant::now();
    while !host_is_there(&file)? {
        if start.elapsed() > DEADLINE {
            bail!("the host does not hold the other end of the port {name}");
        }
        thread::sleep(PAUSE);
    }
    Ok(file)
}

fn open_named(name: &str, flags: i32) -> Result<File> {
    let start = Instant::now();
    loop {
        if let Some(path) = find(name) {
            return OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags | libc::O_CLOEXEC)
                .open(&path)
                .with_context(|| format!("open {}", path.display()));
        }
        if start.elapsed() > DEADLINE {
            bail!("no virtio port is named {name}");
        }
        thread::sleep(PAUSE);
    }
}

/// The kernel says "hung up" until it has heard of the host.
fn host_is_there(file: &File) -> Result<bool> {
    let mut polled = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(file), nix::poll::PollFlags::POLLOUT)];
    nix::poll::poll(&mut polled, nix::poll::PollTimeout::ZERO).context("poll a port")?;
    let events = polled.first().and_then(nix::poll::PollFd::revents).unwrap_or(nix::poll::PollFlags::POLLHUP);
    Ok(!events.contains(nix::poll::PollFlags::POLLHUP))
}

/// The port's device, once the kernel has learnt its name.
fn find(wanted: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(CLASS).ok()?.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == wanted {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}

/// The open port on the tokio runtime.
#[derive(Debug)]
pub struct Port {
    file: AsyncFd<File>,
}

impl Port {
    /// Waits until the host holds the other end.
    pub async fn new(file: File) -> Result<Self> {
        // SAFETY: the file is owned, and lives in the AsyncFd until both are dropped.
        let file = unsafe { AsyncFd::register(file) }.context("watch the agent's port")?;
        let port = Self { file };
        let start = Instant::now();
        while !host_is_there(port.file.get_ref())? {
            if start.elapsed() > DEADLINE {
                bail!("the host does not hold the other end of the agent's port");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(port)
    }
}

impl AsyncRead for Port {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.file.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match guard.try_io(|file| file.get_ref().read(unfilled)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(err)) => return Poll::Ready(Err(err)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.file.poll_write_ready(cx))?;
            match guard.try_io(|file| file.get_ref().write(bytes)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
