//! Who serves host folders to a guest: a process of its own, `hako-shim fs`,
//! in the container's cgroup. It dies with the shim, ends when QEMU closes its
//! port, and a virtual machine whose server has ended is killed: a guest whose
//! folders answer no more is of no use.

use hako_model::{Error, Result, Shares, WINDOW_SLOT, WINDOW_SLOTS};
use hako_qemu::KillSwitch;
use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::{Notify, watch},
    time::timeout,
};

/// How long the set-up may take; it opens what was opened before.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to hear of QEMU's end.
const PATIENCE: Duration = Duration::from_secs(2);
/// The line by which it says that it serves.
const WORD: &str = "ready";
/// The window's, in `/proc`.
const WINDOW_NAME: &CStr = c"hako-window";

/// What QEMU has of it.
#[derive(Debug)]
pub(super) struct Connection {
    /// The other end of the guest's port.
    pub socket: OwnedFd,
    /// The memory for large data: a disk of the guest.
    pub window: OwnedFd,
}

/// The process.
#[derive(Debug)]
pub(super) struct ShareServer {
    stdout: BufReader<ChildStdout>,
    /// How it ended; empty is in order.
    ended: watch::Receiver<Option<String>>,
    kill: Arc<Notify>,
}

impl ShareServer {
    /// Starts it; answers what QEMU gets too.
    pub fn start(shares: &Shares, groups: Vec<PathBuf>) -> Result<(Self, Connection)> {
        let failed = |err: std::io::Error| Error::internal(format!("start {} fs: {err}", shares.server.display()));
        let (ours, qemus) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&shares.server);
        command.arg("fs").env_clear().current_dir("/").kill_on_drop(true);
        let window = window().map_err(failed)?;
        let its_window = window.try_clone().map_err(failed)?;
        command.arg("--window").arg(its_window.as_raw_fd().to_string());
        for share in &shares.list {
            command.arg(if share.read_only { "--ro" } else { "--rw" }).arg(&share.source);
            if !share.beneath.as_os_str().is_empty() {
                command.arg("--beneath").arg(&share.beneath);
            }
            if share.non_recursive {
                command.arg("--non-recursive");
            }
        }
        command.stdin(OwnedFd::from(ours)).stdout(Stdio::piped());
        let groups = groups.iter().map(|path| open_group(path)).collect::<Result<_>>()?;
        hako_os::process::tie_to_parent(command.as_std_mut(), groups, vec![its_window]);
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| Error::internal("the server of host folders has no output"))?;
        let (said, ended) = watch::channel(None);
        let kill = Arc::new(Notify::new());
        tokio::spawn(watch_over(child, kill.clone(), said));
        let connection = Connection { socket: qemus.into(), window };
        Ok((Self { stdout: BufReader::new(stdout), ended, kill }, connection))
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// Its own words, where it does not.
    pub async fn ready(&mut self) -> Result<()> {
        let mut line = String::new();
        let read = timeout(READY, self.stdout.read_line(&mut line)).await;
        if matches!(read, Ok(Ok(_))) && line.trim_end() == WORD {
            return Ok(());
        }
        let words = line.trim_end();
        Err(Error::internal(if words.is_empty() { "host folders cannot be served" } else { words }))
    }

    /// From now on its end is the VM's, unless that has ended before.
    pub fn guard(&self, vm: KillSwitch) {
        let mut ended = self.ended.clone();
        tokio::spawn(async move {
            // The sender says it before it goes.
            if let Ok(how) = ended.wait_for(Option::is_some).await
                && let Some(how) = how.as_deref().filter(|how| !how.is_empty())
            {
                tracing::error!("the server of host folders has ended: {how}");
            }
            vm.kill();
        });
    }

    /// Waits for its end, and brings it about if it takes long.
    pub async fn end(&self) {
        let mut ended = self.ended.clone();
        if timeout(PATIENCE, ended.wait_for(Option::is_some)).await.is_err() {
            self.kill.notify_one();
            // It is gone, or its sender is.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }
}

/// The memory for large data.
pub(super) fn window() -> std::io::Result<OwnedFd> {
    let size = u64::from(WINDOW_SLOTS) * u64::from(WINDOW_SLOT);
    hako_os::fd::memory_file(WINDOW_NAME, size).map(OwnedFd::from)
}

fn open_group(path: &Path) -> Result<File> {
    let failed = |err: std::io::Error| Error::internal(format!("open {}: {err}", path.display()));
    OpenOptions::new().write(true).open(path).map_err(failed)
}

async fn watch_over(mut child: Child, kill: Arc<Notify>, said: watch::Sender<Option<String>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => {
            // It may be dead already.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    // In order it ends only where QEMU has.
    let words = |status: ExitStatus| if status.success() { String::new() } else { status.to_string() };
    let text = status.map_or_else(|err| err.to_string(), words);
    said.send_replace(Some(text));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_has_one_name() {
        assert_eq!(hako_qemu::SHARES_PORT, hako_model::SHARES_PORT);
    }
}
