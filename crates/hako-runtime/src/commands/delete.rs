//! `delete`: removes what create made. It goes on where something is missing
//! already: a container whose create was killed half way is deleted too.

use super::open_log;
use crate::cgroup::Cgroup;
use crate::cli::Globals;
use crate::error::{Error, Result};
use crate::record::{Existing, Folder, Status, alive};
use crate::report;
use std::time::{Duration, Instant};

/// How long a process may take to die after SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// Deletes a stopped or created container; with `force` any, or none.
pub fn run(globals: &Globals, id: &str, force: bool) -> Result<()> {
    report::start(open_log(globals)?, globals.debug);
    let folder = Folder::new(&globals.root, id)?;
    if !folder.path.exists() {
        return if force { Ok(()) } else { Err(Error::message(format!("container {id:?} does not exist"))) };
    }
    match folder.clone().open() {
        Ok(existing) => delete(&existing, force),
        Err(err) if !force => Err(err),
        Err(_) => {
            if let Some(record) = folder.record() {
                clear(&Cgroup::new(&record.cgroup)?)?;
            }
            folder.remove()
        }
    }
}

fn delete(existing: &Existing, force: bool) -> Result<()> {
    let status = existing.status();
    if !matches!(status, Status::Stopped | Status::Created) && !force {
        let id = &existing.folder.id;
        return Err(Error::message(format!("cannot delete container {id} that is not stopped: {status}")));
    }
    if let Some(pid) = existing.live_pid() {
        // Without a cgroup or a pid namespace of its own this is the only way to it.
        _ = crate::sys::kill(pid, nix::libc::SIGKILL);
    }
    clear(&existing.cgroup()?)?;
    // It leaves its cgroup a little before it is dead.
    if let Some(pid) = existing.live_pid() {
        await_death(pid)?;
    }
    existing.folder.remove()
}

fn await_death(pid: i32) -> Result<()> {
    let end = Instant::now() + DEATH;
    while alive(pid) {
        if Instant::now() > end {
            return Err(Error::message(format!("process {pid} does not die")));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn clear(cgroup: &Cgroup) -> Result<()> {
    cgroup.kill_all()?;
    cgroup.remove()
}
