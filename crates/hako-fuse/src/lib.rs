//! Folders and files of the host, served to a guest's kernel as FUSE requests.
//!
//! ```text
//! guest: container ─ FUSE ─ /dev/fuse ─ hako-agent ─ virtio port ─┐
//! host:                        this, in a process of its own  ◄───┘
//!                                └─ the shares, in a mount namespace with nothing else
//! ```
//!
//! Own code, since what the crates for this (`fuse-backend-rs`, `virtiofsd`)
//! have lacks locks, which containers and the host share; the decision is
//! docs/decisions/0021-host-folders-in-a-vm.md.
//!
//! **The guest is not trusted.** Whatever it sends, it reaches what lies in the
//! shares and nothing else:
//! - It names inodes by numbers that it was given, and entries by single names,
//!   which are looked up in a directory that is open. The host follows no path
//!   and no link for it: links are read, and the guest's kernel follows them in
//!   its own tree. Nothing but regular files and directories is ever opened.
//! - The process that serves has no other mounts, none but a file server's
//!   capabilities, and no system calls but those that serving files takes.
//! - Lengths are checked, and tables are bounded: requests, nodes, open files,
//!   locks, waiting locks and threads.
//!
//! Who may do what is decided by the guest's kernel (`default_permissions`), as
//! for a disk of its own; what is made belongs to whom the guest says, as what
//! root of a container behind the process wall makes does.

mod filter;
mod jail;
mod locks;
mod nodes;
mod open;
mod ops;
mod server;
#[cfg(test)]
mod tests;
mod window;
pub mod wire;

use libseccomp::ScmpAction;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder or file of the host, given to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where it is.
    pub path: PathBuf,
    /// What of it: a path that no link on it may lead out of it; empty for all.
    pub beneath: PathBuf,
    /// Nothing may be written to it.
    pub read_only: bool,
    /// With what is mounted below it.
    pub recursive: bool,
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A share cannot be had.
    #[error("share {}", path.display())]
    Share {
        /// Which.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// A step of the set-up.
    #[error("{what}")]
    Step {
        /// Which.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The guest sent what is no request.
    #[error("the guest's side of the connection is broken: {0}")]
    Broken(String),
}

/// This module's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Serves `shares` over `socket` until the other side closes it; large data
/// passes through `window`, where there is one. `ready` is called once nothing can fail any more but the connection. Changes the whole
/// process for good: it must have one thread and do nothing else.
///
/// # Errors
/// A share that is not there; a connection that carries no requests.
pub fn serve(shares: &[Share], socket: UnixStream, window: Option<OwnedFd>, ready: impl FnOnce()) -> Result<()> {
    let (jail, roots) = jail::Jail::enter(shares)?;
    let roots = roots.into_iter().zip(shares.iter().map(|share| share.read_only));
    let server = server::Server::new(jail, roots, socket, window)?;
    // What a thread was in the middle of is not to be gone on with.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("hako-shim fs: {panic}");
        std::process::abort();
    }));
    // A call that nobody thought of is an error to the guest, and not its end.
    let filtered = filter::enter(ScmpAction::Errno(libc::EPERM));
    filtered.map_err(|source| Error::Step { what: "forbid system calls", source })?;
    ready();
    Arc::new(server).run()
}

/// Serves the folder `share` as [`serve`] does, but in this process as it is: no
/// wall is around it but the server's own care, which is what a fuzzer tries. The
/// calling thread's working directory becomes another, and a system call that a
/// server does not make is the end of the process.
///
/// # Errors
/// As [`serve`].
pub fn serve_openly(share: &Path, socket: UnixStream, window: Option<OwnedFd>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, share, flags, Mode::empty())
        .map_err(|err| Error::Share { path: share.to_owned(), source: err.into() })?;
    let server = Arc::new(server::Server::new(jail::Jail::open()?, [(root, false)].into_iter(), socket, window)?);
    let filtered = filter::enter(ScmpAction::KillProcess);
    filtered.map_err(|source| Error::Step { what: "forbid system calls", source })?;
    let served = server.run();
    // Its threads may be in the middle of a request.
    while Arc::strong_count(&server) > 1 {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    served
}
