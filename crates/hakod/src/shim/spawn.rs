//! Starting a shim.

use super::ShimDir;
use hako_model::{Error, Result};
use std::{fs::OpenOptions, os::fd::OwnedFd, path::Path};
use tokio::process::{Child, Command};

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
