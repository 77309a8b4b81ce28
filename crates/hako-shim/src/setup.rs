//! What must be done before the first task: descriptors, session, signals,
//! namespace, memory.

use hako_model::{Error, Result};
use nix::sys::socket::{getsockopt, sockopt};
use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

/// The two listening sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) task: UnixListener,
    pub(crate) stdio: UnixListener,
}

/// Prepares the process. hakod has done some of it already; a shim that was
/// started by hand does it all.
pub(crate) fn prepare(dir: &Path) -> Result<Sockets> {
    let inherited = (hako_os::fd::take_inherited(3), hako_os::fd::take_inherited(4));
    hako_os::process::keep_memory_small();
    start_log();
    // Refused to a group's leader, which hakod has made a session's leader.
    let _ = nix::unistd::setsid();
    hako_os::process::outlive_signals()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir("/")?;
    hako_os::mount::own_namespace().map_err(|err| Error::internal(format!("mount namespace: {err}")))?;
    Ok(Sockets { task: listener(inherited.0, dir, "task.sock")?, stdio: listener(inherited.1, dir, "stdio.sock")? })
}

/// The inherited listener, or one of our own where none was inherited.
fn listener(inherited: Option<OwnedFd>, dir: &Path, name: &str) -> Result<UnixListener> {
    let inherited = inherited.filter(|fd| getsockopt(fd, sockopt::AcceptConn).unwrap_or(false));
    let listener = match inherited {
        Some(fd) => UnixListener::from(fd),
        None => bind(dir, name).map_err(|err| Error::internal(format!("bind {}: {err}", dir.join(name).display())))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind(dir: &Path, name: &str) -> std::io::Result<UnixListener> {
    let dir = fs::File::open(dir)?;
    // The folder's own path may be longer than a socket's path can be.
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    match fs::remove_file(&path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err),
        _ => UnixListener::bind(path),
    }
}

/// Warnings go to stderr, which is `shim.log`. No filter language: it would
/// bring a regular expression engine into every shim.
fn start_log() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}
