//! Signals to one and to all, and the end of a container. Teardown goes on
//! past errors and reports all of them.

use super::{
    init::Container,
    reaper::{Reaper, Watch},
    rootfs::Mounts,
    runtime::{ChildEnds, Runtime},
};
use crate::CreateRequest;
use hako_model::{Error, Result};
use hako_os::cgroup::Cgroup;
use nix::libc;
use std::{io, time::Duration};

/// How often killing everything is tried: a process may fork between two looks.
const ROUNDS: u32 = 500;
/// How long a killed process may take to be collected.
const END_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

fn finished() -> Error {
    Error::not_found("process already finished")
}

/// Signals one of our children.
pub(super) fn signal_one(reaper: &Reaper, watch: &Watch, signal: i32) -> Result<()> {
    reaper.signal(watch, signal).map_err(|err| match err.raw_os_error() {
        Some(libc::ESRCH) => finished(),
        Some(libc::EINVAL) => Error::invalid(format!("invalid signal {signal}")),
        _ => Error::internal(format!("signal {signal} to process {}: {err}", watch.pid())),
    })
}

/// Signals every process of the container. SIGKILL is repeated until none is left.
pub(super) async fn signal_all(container: &Container, reaper: &Reaper, signal: i32) -> Result<()> {
    if signal == libc::SIGKILL {
        return kill_all(container, reaper).await;
    }
    let pids = container.pids()?;
    if pids.is_empty() {
        return Err(finished());
    }
    for pid in pids {
        match hako_os::process::kill(pid, signal) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
            Err(err) if err.raw_os_error() == Some(libc::EINVAL) => {
                return Err(Error::invalid(format!("invalid signal {signal}")));
            }
            Err(err) => return Err(Error::internal(format!("signal {signal} to process {pid}: {err}"))),
        }
    }
    Ok(())
}

async fn kill_all(container: &Container, reaper: &Reaper) -> Result<()> {
    // The first process first: with it goes its whole pid namespace. Others
    // remain only where the namespace is shared.
    match reaper.signal(&container.init, libc::SIGKILL) {
        Ok(()) => {}
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
        Err(err) => return Err(Error::internal(format!("kill process {}: {err}", container.init.pid()))),
    }
    if container.cgroup.is_frozen().unwrap_or(false) {
        // A frozen process dies only after a thaw; a failure shows below.
        let _ = container.cgroup.set_frozen(false);
    }
    for _ in 0..ROUNDS {
        let pids = container.pids()?;
        if pids.is_empty() {
            return Ok(());
        }
        if !container.cgroup.kill() {
            for pid in pids {
                // It may have ended since; the next look tells.
                let _ = hako_os::process::kill(pid, libc::SIGKILL);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::internal(format!("processes of container {} do not die", container.id)))
}

/// Ends the container: processes, the runtime's state, cgroup, mounts.
pub(super) async fn delete(runtime: &Runtime, container: &Container) -> Result<()> {
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(err) = result {
            errors.push(err.message);
        }
    };
    let killed = kill_all(container, &runtime.reaper).await;
    if killed.is_ok() {
        // Reads how it ended while there is a cgroup to tell.
        let ended = tokio::time::timeout(END_LIMIT, container.ended()).await;
        note(ended.unwrap_or_else(|_| Err(Error::internal("its first process does not end"))).map(drop));
    }
    note(killed);
    note(runtime_delete(runtime, &container.id).await);
    note(remove_cgroup(&container.cgroup).await);
    note(container.unmount());
    if errors.is_empty() { Ok(()) } else { Err(Error::internal(errors.join("; "))) }
}

/// Takes back what a failed create has made. The error that it failed with is
/// the one to tell; what fails here goes to the log.
pub(super) async fn undo_create(runtime: &Runtime, req: &CreateRequest, cgroup: Cgroup, mounts: &mut Mounts) {
    let state = runtime.root.join(&req.id);
    if state.exists() {
        log_failure(req, runtime_delete(runtime, &req.id).await);
    }
    for pid in cgroup.pids().ok().flatten().unwrap_or_default() {
        // It may have ended since.
        let _ = hako_os::process::kill(pid, libc::SIGKILL);
    }
    log_failure(req, remove_cgroup(&cgroup).await);
    log_failure(req, mounts.unmount());
}

fn log_failure(req: &CreateRequest, result: Result<()>) {
    if let Err(err) = result {
        tracing::warn!(container = req.id, "undo create: {err}");
    }
}

async fn runtime_delete(runtime: &Runtime, id: &str) -> Result<()> {
    let args = ["delete".as_ref(), "--force".as_ref(), id.as_ref()];
    runtime.run(&args, ChildEnds::default(), None).await.map_err(|err| err.context("hako-runtime delete"))
}

/// A process that has just been killed leaves its group a moment later.
async fn remove_cgroup(cgroup: &Cgroup) -> Result<()> {
    let mut tries = 0;
    loop {
        match cgroup.remove() {
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy && tries < ROUNDS => tries += 1,
            result => return result.map_err(|err| Error::internal(err.to_string())),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
