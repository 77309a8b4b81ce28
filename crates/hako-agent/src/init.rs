//! PID 1: mounts what a Linux program expects, forks the agent, and reaps.
#![allow(unsafe_code)]
// UNSAFETY: fork.

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        resource::{RLIM_INFINITY, Resource, setrlimit},
        stat::fstat,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, chdir, chroot, dup2_stderr, dup2_stdout, fork},
};
use std::{fs, process::ExitCode};

/// Files of the kernel that are set once. A limit that a small memory makes
/// small would be seen by the workload, which on a host's kernel has none.
const SETTINGS: &[(&str, &str)] = &[
    // A program that reserves more than it uses works on a large host: here as well.
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/max_map_count", "262144"),
    ("/proc/sys/fs/file-max", "1048576"),
    ("/proc/sys/kernel/threads-max", "65536"),
    ("/proc/sys/kernel/pid_max", "65536"),
];

/// Programs of the guest may open this many files, if they raise their own limit.
const OPEN_FILES: u64 = 524_288;

const CGROUPS: &str = "/sys/fs/cgroup";
/// The OCI runtime, as the initramfs has it.
pub const RUNTIME: &str = "/hako-runtime";

/// Never returns while the machine should live.
pub fn run() -> ExitCode {
    if let Err(err) = prepare() {
        eprintln!("hako-agent: {err:#}");
        return power_off();
    }
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => match crate::serve::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                eprintln!("hako-agent: {err:#}");
                ExitCode::FAILURE
            }
        },
        Ok(ForkResult::Parent { child }) => {
            reap_until(child);
            power_off()
        }
        Err(err) => {
            eprintln!("hako-agent: fork: {err}");
            power_off()
        }
    }
}

/// Ends the machine. Without the right to (never, as PID 1) the kernel panics
/// on our return, which ends it as well.
pub fn power_off() -> ExitCode {
    let err = reboot(RebootMode::RB_AUTOBOOT);
    eprintln!("hako-agent: reboot: {err:?}");
    ExitCode::FAILURE
}

fn reap_until(agent: Pid) {
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if pid == agent => return,
            Err(nix::errno::Errno::ECHILD) => return,
            _ => {}
        }
    }
}

fn prepare() -> Result<()> {
    leave_rootfs().context("leave the initial root")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    seal(RUNTIME).with_context(|| format!("seal {RUNTIME}"))?;
    mount_at("proc", "/proc", safe, "")?;
    mount_at("sysfs", "/sys", safe, "")?;
    mount_at("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755")?;
    // The console may be one of theirs.
    crate::modules::load()?;
    speak().context("open the console")?;
    fs::create_dir_all("/dev/pts").context("create /dev/pts")?;
    mount_at("devpts", "/dev/pts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5")?;
    mount_at("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755,size=16m")?;
    mount_at("tmpfs", "/tmp", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777,size=16m")?;
    mount_at("cgroup2", CGROUPS, safe, "nsdelegate,favordynmods")?;
    enable_controllers()?;
    for (path, value) in SETTINGS {
        fs::write(path, value).with_context(|| format!("set {path} to {value}"))?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, 1024, OPEN_FILES).context("raise the limit of open files")?;
    setrlimit(Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY).context("raise the limit of processes")?;
    Ok(())
}

/// Gives this process a standard output and error. The kernel opens the console
/// for PID 1, but the virtio console may come later than PID 1; what is written
/// to the kernel's log reaches it all the same.
fn speak() -> Result<()> {
    let open = |path: &str| fs::OpenOptions::new().write(true).open(path);
    if fstat(std::io::stderr())?.st_rdev != fstat(open("/dev/null")?)?.st_rdev {
        return Ok(());
    }
    let file = open("/dev/console").or_else(|_| open("/dev/kmsg"))?;
    dup2_stdout(&file)?;
    dup2_stderr(&file)?;
    Ok(())
}

/// `pivot_root` refuses to work where `/` is the initramfs itself, which has no
/// parent mount. A bind mount of it, moved to `/`, has one; nothing is copied.
fn leave_rootfs() -> nix::Result<()> {
    mount(Some("/"), "/mnt", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    chdir("/mnt")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")
}

/// Mounts a program read-only onto itself, so that no container can write to
/// the file that it was started by. hako-runtime would do it at every call.
fn seal(program: &str) -> nix::Result<()> {
    mount(Some(program), program, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(None::<&str>, program, None::<&str>, flags, None::<&str>)
}

fn mount_at(kind: &str, target: &str, flags: MsFlags, data: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), flags, Some(data)).with_context(|| format!("mount {kind} on {target}"))
}

/// Gives every controller to the root's children; a container's limits are
/// those of its own cgroup.
fn enable_controllers() -> Result<()> {
    let path = format!("{CGROUPS}/cgroup.controllers");
    let names = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let wanted: Vec<String> = names.split_whitespace().map(|name| format!("+{name}")).collect();
    let path = format!("{CGROUPS}/cgroup.subtree_control");
    fs::write(&path, wanted.join(" ")).with_context(|| format!("write {path}"))
}
