//! What must be done before the first task: descriptors, session, signals,
//! namespace, memory.

use hako_model::{Error, Result};
use std::{
    fs, io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixListener,
    },
    path::Path,
};

/// Where hakod gives it the sockets: what is at these numbers needs nothing done
/// between fork and exec, so that hakod need not be forked for it.
const TASK: RawFd = 0;
const STDIO: RawFd = 1;

/// The two listening sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) task: UnixListener,
    pub(crate) stdio: UnixListener,
}

/// Prepares the process.
pub(crate) fn prepare(dir: &Path) -> Result<Sockets> {
    settle()?;
    Ok(Sockets { task: listener(TASK, dir, "task.sock")?, stdio: listener(STDIO, dir, "stdio.sock")? })
}

/// All of it but the sockets.
pub(crate) fn settle() -> Result<()> {
    // Refused to the leader of a group, as which somebody may have started it.
    let _ = nix::unistd::setsid();
    hako_os::process::keep_memory_small();
    start_log();
    hako_os::process::outlive_signals()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir("/")?;
    hako_os::mount::own_namespace().map_err(|err| Error::internal(format!("mount namespace: {err}")))
}

/// The inherited listener, or one of our own where none was inherited.
fn listener(inherited: RawFd, dir: &Path, name: &str) -> Result<UnixListener> {
    let named = |err: io::Error| Error::internal(format!("{}: {err}", dir.join(name).display()));
    let listener = match hako_os::fd::take_listener(inherited).map_err(named)? {
        Some(listener) => listener,
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
