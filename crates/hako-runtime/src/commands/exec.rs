//! `exec`: a further process in a running container.

use super::{create, open_log};
use crate::bundle::read_object;
use crate::cli::{Exec, Globals};
use crate::error::{Context, Error, Result};
use crate::executor::{Kind, ProcessExecutor};
use crate::privileges::Own;
use crate::process;
use crate::record::{Existing, Folder};
use crate::report;
use crate::rootfs::Rootfs;
use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;

/// Runs the process; without `--detach` its exit status is ours.
pub fn run(globals: &Globals, flags: Exec) -> Result<ExitCode> {
    let mut reports = report::start(open_log(globals)?, globals.debug)?;
    let existing = Folder::new(&globals.root, &flags.id)?.open()?;
    let pid = running(&existing)?;
    create::inherit_cleanly(&flags.id)?;
    let own = Own::read().map_err(|err| Error::because("read capabilities", err))?;
    let mut oci = read_object(&flags.process)?;
    let group_add = existing.container.state.annotations.as_ref().and_then(|all| all.get(process::GROUP_ADD));
    let root = Rootfs::open(Path::new(&format!("/proc/{pid}/root")))?;
    let process = process::adapt(&mut oci, &root, &own, group_add.map_or("", String::as_str))?;
    drop(root);
    let file = memory_file(&serde_json::to_vec(&oci).context(|| "encode process")?)?;

    let executor = ProcessExecutor::new(process, existing.folder.filter()?, Kind::Joining);
    let socket = flags.console_socket.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let pid = ContainerBuilder::new(flags.id.clone(), SyscallType::Linux)
        .with_executor(executor)
        .with_root_path(&existing.folder.path)
        .and_then(|builder| builder.with_pid_file(flags.pid_file.as_ref()))
        .and_then(|builder| {
            builder
                .with_console_socket(socket)
                .as_tenant()
                .with_detach(flags.detach)
                .with_process(Some(format!("/proc/self/fd/{}", file.as_raw_fd())))
                .build()
        })
        .map_err(|err| reports.explain(err))?;
    if flags.detach { Ok(ExitCode::SUCCESS) } else { wait(Pid::from_raw(pid.as_raw())) }
}

fn running(existing: &Existing) -> Result<i32> {
    match existing.container.status() {
        ContainerStatus::Running => {}
        ContainerStatus::Paused => {
            return Err(Error::message(format!("cannot exec in a paused container: {}", existing.folder.id)));
        }
        _ => return Err(Error::message(format!("container {} is not running", existing.folder.id))),
    }
    existing.live_pid().ok_or_else(|| Error::message(format!("container {} has no process", existing.folder.id)))
}

fn memory_file(bytes: &[u8]) -> Result<File> {
    let fd = memfd_create("process", MFdFlags::MFD_CLOEXEC).context(|| "memfd_create")?;
    let mut file = File::from(fd);
    file.write_all(bytes).context(|| "write to memory file")?;
    Ok(file)
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
