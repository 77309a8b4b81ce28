//! The console socket: over it the runtime sends the master of the pty that it
//! has made in the container.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// A listening socket for one pty.
#[derive(Debug)]
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Keeps `path` valid.
    _dir: File,
}

impl ConsoleSocket {
    /// Listens in `dir` under `name`.
    pub(super) fn bind(dir: &Path, name: &str) -> io::Result<Self> {
        let dir = File::open(dir)?;
        // A socket's path has 107 bytes at most, and a shim's folder alone may have as many.
        let path = PathBuf::from(format!("/proc/{}/fd/{}/{name}", std::process::id(), dir.as_raw_fd()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, _dir: dir })
    }

    /// The path to give to the runtime.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The master, once the runtime has ended well: it has been sent by then.
    pub(super) fn receive(&self) -> io::Result<OwnedFd> {
        let (socket, _) = self.listener.accept()?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        hako_os::fd::receive(&socket)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // A leftover goes with its folder.
        let _ = fs::remove_file(&self.path);
    }
}
