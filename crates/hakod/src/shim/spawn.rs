//! Starting a shim.

use super::ShimDir;
use hako_model::{Error, Result};
use std::{
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::Path,
    process::Stdio,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

/// Starts `program` for the container of `dir`, with both sockets listening
/// before it runs: they are its standard input and output, so that nothing is to
/// be done between fork and exec. What is to be done there would cost a copy of
/// this process's page tables. It makes a session of its own as soon as it runs,
/// and ends with its container, not with this process.
///
/// # Errors
/// The program is missing, or the kernel refuses.
pub fn spawn(program: &Path, dir: &ShimDir) -> Result<Child> {
    let (task, stdio) = (OwnedFd::from(dir.bind("task.sock")?), OwnedFd::from(dir.bind("stdio.sock")?));
    let log = OpenOptions::new().create(true).append(true).open(dir.path().join("shim.log"))?;
    let mut command = Command::new(program);
    command.arg("--dir").arg(dir.path()).current_dir("/").stdin(task).stdout(stdio).stderr(log);
    command.spawn().map_err(|err| Error::internal(format!("start {}: {err}", program.display())))
}

/// Starts `program` with a machine that waits for its container, in `dir`;
/// answers our end of its socket, which is its standard input.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_waiting(program: &Path, dir: &Path) -> Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let log = OpenOptions::new().create(true).append(true).open(dir.join("shim.log"))?;
    let mut command = Command::new(program);
    command.arg("wait").arg("--dir").arg(dir).current_dir("/");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().map_err(|err| Error::internal(format!("start {}: {err}", program.display())))?;
    Ok((child, UnixStream::from_std(ours)?))
}
