//! `hako-shim wait`: a shim with a machine that waits for its container.
//!
//! ```text
//! hakod ── socket ──────► copy of a template, rehearsal ──"ready"──► hakod
//!       ── "take", task.sock, stdio.sock ──► the shim of that container
//!       ── gone ──► the machine's end
//! ```
//!
//! It says `ready` once and hears one [`Take`]; until then it is nobody's, and
//! goes with the engine that has started it.

use crate::setup::{self, Sockets};
use hako_model::{Error, Result, Take, WaitConfig};
use hako_os::fd::receive_all;
use hako_sandbox::{
    CreateRequest, Mount,
    microvm::{STREAMS, Waiting},
};
use nix::sys::socket::{getsockopt, sockopt};
use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};
use tokio::io::{AsyncWriteExt, Interest};

/// Where the engine gives it the socket: standard input's place.
const CONTROL: i32 = 0;
/// The most that a [`Take`] has.
const MOST: usize = 16 << 10;

/// Waits in `dir`, whose name is as long as that of the container's will be,
/// and then serves the container. Call it on the main thread, before there is
/// any other.
///
/// # Errors
/// The machine cannot be made; what keeps the container from being served.
pub fn run(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let is_socket = |fd: &OwnedFd| getsockopt(fd, sockopt::SockType).is_ok();
    let control = hako_os::fd::take_standard(CONTROL, is_socket)?
        .ok_or_else(|| Error::invalid("hako-shim wait has no socket to its engine"))?;
    setup::settle()?;
    let config = dir.join("wait.json");
    let text = fs::read(&config).map_err(|err| Error::internal(format!("{}: {err}", config.display())))?;
    let config: WaitConfig =
        serde_json::from_slice(&text).map_err(|err| Error::invalid(format!("{}: {err}", config.display())))?;
    // Before QEMU begins in its own: namespaces end when their engine says so.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let taken = runtime.block_on(wait(&dir, &config, UnixStream::from(control)))?;
    let Some((take, given, waiting)) = taken else { return Ok(()) };
    become_shim(&dir, &take.dir)?;
    let mut config = crate::read_config(&take.dir)?;
    if let (Some(network), Some(netns)) = (config.vm.as_mut().and_then(|vm| vm.network.as_mut()), &given.netns) {
        // What is mounted at the container's path was not there when this process began.
        network.netns = format!("/proc/self/fd/{}", netns.as_raw_fd()).into();
    }
    let sockets = given.sockets;
    let served = runtime.block_on(crate::serve(take.dir, config, sockets, Some(waiting)));
    runtime.shutdown_background();
    served
}

/// What comes with a [`Take`].
struct Given {
    sockets: Sockets,
    /// The container's network namespace, if it has one. Open from here on.
    netns: Option<OwnedFd>,
}

/// `None` where the engine goes without a word.
async fn wait(dir: &Path, config: &WaitConfig, control: UnixStream) -> Result<Option<(Take, Given, Waiting)>> {
    control.set_nonblocking(true)?;
    let mut control = tokio::net::UnixStream::from_std(control)?;
    let mount = |mount: &hako_model::WaitMount| Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    };
    let rehearsal = CreateRequest {
        id: "0".repeat(64),
        bundle: dir.join("bundle"),
        rootfs: config.rootfs.iter().map(mount).collect(),
        stdio: STREAMS,
    };
    let waiting = tokio::select! {
        waiting = Waiting::start(&config.vm, dir, &rehearsal) => waiting?,
        // The engine has gone meanwhile: QEMU goes with this process.
        () = hung_up(&control) => return Ok(None),
    };
    hako_os::netns::keep_only("")?;
    hako_os::process::trim_memory();
    control.write_all(b"ready\n").await?;
    let taken = tokio::select! {
        taken = hear(&control) => taken?,
        how = waiting.ended() => return Err(Error::internal(how)),
    };
    match taken {
        Some((take, given)) => Ok(Some((take, given, waiting))),
        None => {
            waiting.end().await;
            Ok(None)
        }
    }
}

async fn hung_up(control: &tokio::net::UnixStream) {
    loop {
        // Nothing is said before "ready": what can be read is the end.
        if control.readable().await.is_err() {
            return;
        }
        let mut byte = [0];
        match control.try_read(&mut byte) {
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// One message, with the container's two sockets and its network namespace.
async fn hear(control: &tokio::net::UnixStream) -> Result<Option<(Take, Given)>> {
    let mut text = vec![0; MOST];
    let receive = || receive_all(&control.as_fd(), &mut text);
    let (length, fds) = control.async_io(Interest::READABLE, receive).await?;
    if length == 0 {
        return Ok(None);
    }
    let take: Take = serde_json::from_slice(text.get(..length).unwrap_or_default())
        .map_err(|err| Error::invalid(format!("what the engine says: {err}")))?;
    let mut fds = fds.into_iter();
    let (Some(task), Some(stdio)) = (fds.next(), fds.next()) else {
        return Err(Error::invalid("the engine sends no sockets"));
    };
    let (task, stdio, netns) = (UnixListener::from(task), UnixListener::from(stdio), fds.next());
    task.set_nonblocking(true)?;
    stdio.set_nonblocking(true)?;
    Ok(Some((take, Given { sockets: Sockets { task, stdio }, netns })))
}

/// From now on this is the shim of `to`, by its name, its log and its console.
fn become_shim(from: &Path, to: &Path) -> Result<()> {
    let named = |err: std::io::Error| Error::internal(format!("{}: {err}", to.display()));
    hako_os::process::rename_argument(from.as_os_str(), to.as_os_str()).map_err(named)?;
    let log = fs::OpenOptions::new().create(true).append(true).open(to.join("shim.log")).map_err(named)?;
    nix::unistd::dup2_stderr(&log).map_err(|err| named(err.into()))?;
    fs::rename(from.join("console.log"), to.join("console.log")).map_err(named)?;
    // What is left is the engine's to sweep, and has nothing of anybody.
    let _ = fs::remove_dir_all(from);
    Ok(())
}
