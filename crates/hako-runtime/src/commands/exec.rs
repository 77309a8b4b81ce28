//! `exec`: a further process in a running container.

use super::{create, open_log};
use crate::bundle::read_object;
use crate::cli::{Exec, Globals};
use crate::container;
use crate::error::{Context, Error, Result};
use crate::executor::{Kind, ProcessExecutor};
use crate::privileges::Own;
use crate::process;
use crate::record::{Existing, Folder, Status};
use crate::report;
use crate::rootfs::Rootfs;
use crate::sys;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the process; without `--detach` its exit status is ours.
pub fn run(globals: &Globals, flags: Exec) -> Result<ExitCode> {
    report::start(open_log(globals)?, globals.debug);
    let existing = Folder::new(&globals.root, &flags.id)?.open()?;
    let pid = running(&existing)?;
    let target = sys::pidfd(pid).context(|| format!("process {pid}"))?;
    if existing.live_pid() != Some(pid) {
        return Err(Error::message(format!("container {} is not running", existing.folder.id)));
    }
    create::inherit_cleanly(&flags.id)?;
    let own = Own::read().map_err(|err| Error::because("read capabilities", err))?;
    let oci = read_object(&flags.process)?;
    let group_add = existing.record.annotations.get(process::GROUP_ADD).map_or("", String::as_str);
    let root = Rootfs::open(Path::new(&format!("/proc/{pid}/root")))?;
    let process = process::adapt(&oci, &root, &own, group_add)?;
    drop(root);
    let executor = ProcessExecutor::new(process, existing.folder.filter()?, Kind::Joining);
    let group = existing.cgroup()?.existing()?;
    let make = |path: &PathBuf| File::create(path).context(|| format!("write {}", path.display()));
    let pid_file = flags.pid_file.as_ref().map(make).transpose()?;
    let mut made = container::joining(&target, pid, &group, &executor, flags.console_socket.as_deref())?;
    made.ready()?;
    let pid = made.running()?;
    if let Some(mut file) = pid_file {
        file.write_all(pid.to_string().as_bytes()).context(|| "write the pid file")?;
    }
    if flags.detach { Ok(ExitCode::SUCCESS) } else { wait(Pid::from_raw(pid)) }
}

fn running(existing: &Existing) -> Result<i32> {
    let id = &existing.folder.id;
    match existing.status() {
        Status::Running => {}
        Status::Paused => return Err(Error::message(format!("cannot exec in a paused container: {id}"))),
        _ => return Err(Error::message(format!("container {id} is not running"))),
    }
    existing.live_pid().ok_or_else(|| Error::message(format!("container {id} has no process")))
}

fn wait(pid: Pid) -> Result<ExitCode> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitCode::from(code as u8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(ExitCode::from(128 + signal as u8)),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(|| format!("wait for process {pid}")),
        }
    }
}
