//! Starts QEMU: the files it needs under their numbers, nobody's user, and
//! the parent's death as its own.
#![allow(unsafe_code)]
// UNSAFETY: `pre_exec` runs between fork and exec.

use crate::{Accelerator, Error, Machine, Result, machine::CommandLine};
use hako_os::notify::{Listener, ask_first};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sched::{CloneFlags, setns},
    sys::{prctl, signal::Signal},
    unistd::{Gid, Pid, Uid, geteuid, getppid, setgid, setgroups, setuid},
};
use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// The first of the user ids that VMs run as: far above those that
/// distributions, subordinate ids and containers use.
const FIRST_UID: u32 = 0x7000_0000;

/// Starts `machine`'s QEMU; answers also who is asked before it makes a hole in
/// a file, where its memory is a template's. It dies with the calling *thread*, which must
/// therefore live as long as the VM: a single-threaded process, or its main thread.
pub(crate) fn spawn(machine: &Machine, line: CommandLine) -> Result<(Child, Option<Listener>)> {
    // Found before the user changes, to whom folders of `$PATH` may be closed.
    let mut command = Command::new(find_program(&machine.qemu)?);
    command.args(&line.args).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).current_dir("/");
    let user = user(machine.accelerator);
    let fds: Vec<i32> = line.fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    // Opened as root: the child is nobody when it writes to them.
    let groups = machine.cgroup_procs.iter().map(|path| open_group(path)).collect::<Result<Vec<File>>>()?;
    let netns = machine
        .netns
        .as_deref()
        .map(|path| File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source }));
    let netns = netns.transpose()?;
    let parent = Pid::this();
    let holes = machine.memory.is_copy().then(UnixStream::pair).transpose();
    let (ours, theirs) = holes.map_err(Error::io("make a socket pair"))?.unzip();
    // SAFETY: the closure makes only system calls and touches memory that was
    // allocated before the fork. The numbers are open in the child, since
    // `line.fds` lives until after the spawn.
    unsafe {
        command.pre_exec(move || {
            groups.iter().try_for_each(|mut group| group.write_all(b"0"))?;
            if let Some(netns) = &netns {
                setns(netns, CloneFlags::CLONE_NEWNET)?;
            }
            prepare(&fds, user, parent)?;
            theirs.as_ref().map_or(Ok(()), |socket| ask_first(socket.as_fd()))
        });
    }
    let child = command.spawn().map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => Error::NotInstalled { program: machine.qemu.clone() },
        _ => Error::Io { step: "start qemu", source: err },
    });
    drop(line.fds);
    let child = child?;
    // It was sent before the program began.
    let listener = ours.as_ref().map(Listener::receive).transpose().map_err(Error::io("hear of qemu's holes"))?;
    Ok((child, listener))
}

fn open_group(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// The program itself, where only its name is known.
///
/// # Errors
/// It is not installed.
pub fn find_program(program: &Path) -> Result<PathBuf> {
    let absent = || Error::NotInstalled { program: program.to_owned() };
    if program.components().count() > 1 {
        return if program.exists() { Ok(program.to_owned()) } else { Err(absent()) };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file()).ok_or_else(absent)
}

/// Whether a QEMU program (a path, or a name that `$PATH` has) is there.
#[must_use]
pub fn is_installed(program: &Path) -> bool {
    find_program(program).is_ok()
}

/// In the child. The user changes before the parent-death signal is set: it
/// would clear that.
fn prepare(fds: &[i32], user: Option<(u32, u32)>, parent: Pid) -> io::Result<()> {
    if let Some((uid, gid)) = user {
        setgroups(&[])?;
        setgid(Gid::from_raw(gid))?;
        setuid(Uid::from_raw(uid))?;
    }
    for fd in fds {
        // SAFETY: open, see above; borrowed only for this call.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

/// Whom QEMU runs as: a user that no one else is, so that a guest that breaks
/// out of it owns nothing, not even another VM. `None` where we are not root.
fn user(accelerator: Accelerator) -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let uid = FIRST_UID + std::process::id();
    if accelerator == Accelerator::Tcg {
        return Some((uid, uid));
    }
    let kvm = std::fs::metadata("/dev/kvm").ok()?;
    match kvm.mode() {
        mode if mode & 0o006 == 0o006 => Some((uid, uid)),
        mode if mode & 0o060 == 0o060 && kvm.gid() != 0 => Some((uid, kvm.gid())),
        // Only root may open the device, so QEMU stays root.
        _ => None,
    }
}
