//! What the container's process does before its program: it is alone, and has
//! one thread.

use super::mounts::Groups;
use super::{Layout, Namespaces, READY, console, mounts};
use crate::bundle::root_is_initramfs;
use crate::error::errno_text;
use crate::executor::{Process, ProcessExecutor};
use crate::rootfs::Rootfs;
use crate::sys;
use hako_os::cgroup::Cgroup;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, chdir, chroot, fchdir, pivot_root, setgroups, sethostname, setsid, unlinkat};
use rustix::mount::MountAttrFlags;
use std::convert::Infallible;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Links that every `/dev` has.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

type Outcome<T> = Result<T, String>;

/// The text for a failure of `what`.
fn failed(what: &str) -> impl FnOnce(Errno) -> String {
    move |errno| format!("{what}: {}", errno_text(errno))
}

/// A container's first process.
#[allow(clippy::too_many_arguments)]
pub(super) fn first(
    layout: &Layout,
    namespaces: &Namespaces,
    group: &Cgroup,
    executor: &ProcessExecutor,
    terminal: Option<UnixStream>,
    start: &UnixListener,
    report: &OwnedFd,
) -> Outcome<Infallible> {
    begin()?;
    namespaces.childs_part().map_err(failed("namespaces"))?;
    names(layout)?;
    if namespaces.own_network() {
        sys::interface_up(c"lo").map_err(failed("bring up lo"))?;
    }
    let groups = if namespaces.has(CloneFlags::CLONE_NEWCGROUP) {
        Groups::Own(group.dir("").filter(|_| group.is_unified()))
    } else {
        Groups::All
    };
    fill(layout, groups)?;
    enter_root(&layout.rootfs, layout.no_pivot)?;
    propagate(layout)?;
    let null = null()?;
    own_null(&null)?;
    let proc = if layout.sysctl.is_empty() && executor.process().apparmor.is_none() { None } else { Some(proc()?) };
    for (name, value) in &layout.sysctl {
        write_to(proc.as_ref(), &format!("sys/{}", name.replace('.', "/")), value)
            .map_err(|reason| format!("set sysctl {name}={value}: {reason}"))?;
    }
    if let Some(socket) = terminal {
        console::set_up(socket, true)?;
    }
    confine(executor.process(), proc.as_ref())?;
    if layout.read_only {
        sys::mount_setattr_at(c"/", libc::MOUNT_ATTR_RDONLY).map_err(failed("make the root read-only"))?;
    }
    hide(layout, &null)?;
    drop((null, proc));
    chdir("/").map_err(failed("chdir to /"))?;
    let_go(&[report.as_fd(), start.as_fd()])?;
    become_user(executor.process())?;
    executor.prepare()?;
    say_ready(report)?;
    await_start(start)?;
    executor.run()
}

/// A further process of the container of `process`, whose namespaces it has but
/// for that of the cgroups: from inside nobody may begin in a group that is not.
pub(super) fn joining(
    process: &OwnedFd,
    executor: &ProcessExecutor,
    terminal: Option<UnixStream>,
    report: &OwnedFd,
) -> Outcome<Infallible> {
    begin()?;
    sys::setns(process.as_fd(), CloneFlags::CLONE_NEWCGROUP).map_err(failed("enter the cgroup namespace"))?;
    match null() {
        Ok(null) => own_null(&null)?,
        // It may have put it away; the machine's is no better.
        Err(reason) => tracing::warn!("{reason}"),
    }
    if let Some(socket) = terminal {
        console::set_up(socket, false)?;
    }
    let proc = executor.process().apparmor.is_some().then(proc).transpose()?;
    confine(executor.process(), proc.as_ref())?;
    drop(proc);
    let_go(&[report.as_fd()])?;
    become_user(executor.process())?;
    executor.prepare()?;
    say_ready(report)?;
    executor.run()
}

/// Closes what is open but stdio and `kept`. What stays open until execve, the
/// program's path, its interpreter's and its directory can lead to by
/// `/proc/self/fd` (CVE-2024-21626). Nothing that is closed here is used, or
/// dropped, in this process any more.
fn let_go(kept: &[BorrowedFd<'_>]) -> Outcome<()> {
    sys::close_all_but(kept).map_err(failed("close_range"))
}

fn begin() -> Outcome<()> {
    _ = nix::sys::prctl::set_name(c"hako-runtime");
    setsid().map(drop).map_err(failed("setsid"))
}

fn names(layout: &Layout) -> Outcome<()> {
    if let Some(name) = &layout.hostname {
        sethostname(name).map_err(failed("set the hostname"))?;
    }
    if let Some(name) = &layout.domainname {
        sys::set_domain_name(name).map_err(failed("set the domain name"))?;
    }
    Ok(())
}

/// Everything that is mounted and made in the root filesystem.
fn fill(layout: &Layout, groups: Groups<'_>) -> Outcome<()> {
    let none = None::<&str>;
    let kind = match layout.propagation.as_deref() {
        Some("shared") => MsFlags::MS_SHARED,
        Some("private") => MsFlags::MS_PRIVATE,
        Some("slave" | "unbindable" | "") | None => MsFlags::MS_SLAVE,
        Some(word) => return Err(format!("not supported: rootfsPropagation {word}")),
    };
    mount(none, "/", none, kind | MsFlags::MS_REC, none).map_err(failed("set the propagation of /"))?;
    let rootfs = &layout.rootfs;
    keep_apart(rootfs).map_err(failed("make the root filesystem's mount private"))?;
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(rootfs), rootfs, none, bind, none).map_err(failed("bind the root filesystem"))?;
    let root = Rootfs::open(rootfs).map_err(|err| err.to_string())?;
    for mount in &layout.mounts {
        mounts::make(&root, mount, groups).map_err(|err| err.to_string())?;
    }
    let given = layout.mounts.iter().any(|mount| mount.is_bind() && mount.destination == Path::new("/dev"));
    // One that comes from elsewhere is there already, and is its owner's.
    if !given {
        devices(layout, &root)?;
    }
    layout.mounts.iter().try_for_each(|mount| mounts::finish(&root, mount)).map_err(|err| err.to_string())
}

/// pivot_root wants no mount to propagate out of where the new root is.
fn keep_apart(rootfs: &Path) -> nix::Result<()> {
    let none = None::<&str>;
    for path in rootfs.ancestors() {
        match mount(none, path, none, MsFlags::MS_PRIVATE, none) {
            // Nothing is mounted there: the mount is one above.
            Err(Errno::EINVAL) => {}
            done => return done,
        }
    }
    Err(Errno::EINVAL)
}

fn devices(layout: &Layout, root: &Rootfs) -> Outcome<()> {
    let dev = root.directory(Path::new("/dev")).map_err(failed("make /dev"))?;
    for node in &layout.devices {
        root.make_device(node).map_err(|err| err.to_string())?;
    }
    let link = |name: &str, target: &str| match nix::unistd::symlinkat(target, &dev, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(format!("make /dev/{name}: {}", errno_text(errno))),
    };
    LINKS.iter().try_for_each(|(name, target)| link(name, target))?;
    if Path::new("/proc/kcore").exists() {
        link("kcore", "/proc/kcore")?;
    }
    match unlinkat(&dev, "ptmx", nix::unistd::UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => link("ptmx", "pts/ptmx"),
        Err(errno) => Err(format!("remove /dev/ptmx: {}", errno_text(errno))),
    }
}

/// Makes `rootfs` the root, and nothing else reachable.
fn enter_root(rootfs: &Path, no_pivot: bool) -> Outcome<()> {
    if !no_pivot {
        match pivot(rootfs) {
            // It is the first of all, which cannot be put away.
            Err(Errno::EINVAL) if root_is_initramfs() => {}
            done => return done.map_err(failed("pivot_root")),
        }
    }
    let none = None::<&str>;
    chdir(rootfs).map_err(failed("enter the root filesystem"))?;
    // What lies below the new root is out of sight, but for these a link may lead to.
    for path in ["/sys", "/proc"] {
        // Not the host's with it.
        _ = mount(none, path, none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none);
        match umount2(path, MntFlags::MNT_DETACH) {
            Err(Errno::EINVAL) => mount(none, path, Some("tmpfs"), MsFlags::MS_RDONLY, Some("size=0k")),
            done => done,
        }
        .map_err(|errno| format!("hide {path}: {}", errno_text(errno)))?;
    }
    mount(Some(rootfs), "/", none, MsFlags::MS_MOVE, none).map_err(failed("move the root filesystem to /"))?;
    chroot(".").map_err(failed("chroot"))?;
    chdir("/").map_err(failed("chdir to /"))
}

/// The old root is stacked on the new one, and then goes: `pivot_root(2)`, "pivot_root(".", ".")".
fn pivot(rootfs: &Path) -> nix::Result<()> {
    let open =
        |path: &Path| nix::fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let (old, new) = (open(Path::new("/"))?, open(rootfs)?);
    fchdir(&new)?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    // The host's mounts must not go with it.
    let none = None::<&str>;
    mount(none, ".", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

fn propagate(layout: &Layout) -> Outcome<()> {
    let flag = match layout.propagation.as_deref() {
        Some("shared") => MsFlags::MS_SHARED,
        Some("unbindable") => MsFlags::MS_UNBINDABLE,
        _ => return Ok(()),
    };
    let none = None::<&str>;
    mount(none, "/", none, flag, none).map_err(failed("set the propagation of the root"))
}

/// The container's `/dev/null`, which is one.
fn null() -> Outcome<OwnedFd> {
    let fd = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty());
    let fd = fd.map_err(failed("open /dev/null"))?;
    let stat = fstat(&fd).map_err(failed("stat /dev/null"))?;
    if !is_null(&stat) {
        return Err("/dev/null of the container is none".to_owned());
    }
    // So that something else could not hold this up.
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_RDWR)).map_err(failed("/dev/null"))?;
    Ok(fd)
}

fn is_null(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && stat.st_rdev == libc::makedev(1, 3)
}

/// Stdio that is the host's becomes the container's.
fn own_null(null: &OwnedFd) -> Outcome<()> {
    for number in 0..3 {
        if sys::stat_of(number).is_ok_and(|stat| is_null(&stat)) {
            sys::dup_to(null.as_fd(), number).map_err(failed("/dev/null as stdio"))?;
        }
    }
    Ok(())
}

/// `/proc` of the container, which is the kernel's.
fn proc() -> Outcome<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open("/proc", flags, Mode::empty()).map_err(failed("open /proc"))?;
    match fstatfs(&fd) {
        Ok(stat) if stat.filesystem_type() == PROC_SUPER_MAGIC => Ok(fd),
        _ => Err("the container has no /proc".to_owned()),
    }
}

/// Writes to a file of it that nothing else is mounted on.
fn write_to(proc: Option<&OwnedFd>, path: &str, text: &str) -> Outcome<()> {
    let proc = proc.ok_or("the container has no /proc")?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC).resolve(resolve);
    let file = openat2(proc, path, how).map_err(errno_text)?;
    nix::unistd::write(&file, text.as_bytes()).map(drop).map_err(errno_text)
}

/// What is set while this process may still set it.
fn confine(process: &Process, proc: Option<&OwnedFd>) -> Outcome<()> {
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(failed("set no_new_privs"))?;
    }
    if let Some(profile) = &process.apparmor {
        let text = format!("exec {profile}");
        // The second is where kernels before 5.8 have it.
        write_to(proc, "thread-self/attr/apparmor/exec", &text)
            .or_else(|_| write_to(proc, "thread-self/attr/exec", &text))
            .map_err(|reason| {
                // Not a program that is not there, as Docker's clients would take it.
                let unknown = reason == errno_text(Errno::ENOENT);
                let reason = if unknown { "the kernel does not have it".to_owned() } else { reason };
                format!("apply apparmor profile {profile}: {reason}")
            })?;
    }
    if let Some(mask) = process.umask {
        nix::sys::stat::umask(Mode::from_bits_truncate(mask));
    }
    Ok(())
}

fn hide(layout: &Layout, null: &OwnedFd) -> Outcome<()> {
    let named = |what: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |errno| format!("{what} {path}: {}", errno_text(errno))
    };
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    for path in &layout.read_only_paths {
        mounts::restrict(path, set).map_err(named("make read-only", path))?;
    }
    for path in &layout.masked {
        mask(path, null.as_fd()).map_err(named("mask", path))?;
    }
    Ok(())
}

/// A file becomes empty, a directory empty and read-only.
fn mask(path: &Path, null: BorrowedFd<'_>) -> nix::Result<()> {
    let target = match nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        target => target?,
    };
    let is_directory = fstat(&target)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    let tree = if is_directory {
        mounts::new("tmpfs", "tmpfs", &[], MountAttrFlags::MOUNT_ATTR_RDONLY)?
    } else {
        mounts::copy_of(null, false)?
    };
    mounts::attach(tree.as_fd(), target.as_fd())
}

/// Its user, groups and capabilities, and besides what the executor still needs.
fn become_user(process: &Process) -> Outcome<()> {
    for (resource, soft, hard) in &process.rlimits {
        nix::sys::resource::setrlimit(*resource, *soft, *hard)
            .map_err(|errno| format!("set {resource:?}: {}", errno_text(errno)))?;
    }
    if !process.groups.is_empty() {
        let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(failed("setgroups"))?;
    }
    nix::sys::prctl::set_keepcaps(true).map_err(failed("prctl"))?;
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    nix::unistd::setresgid(gid, gid, gid).map_err(failed("setgid"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(failed("setuid"))?;
    nix::sys::prctl::set_keepcaps(false).map_err(failed("prctl"))?;
    process.working.take().map_err(|err| format!("drop capabilities: {err}"))
}

fn say_ready(report: &OwnedFd) -> Outcome<()> {
    // Who is gone need not know.
    _ = nix::unistd::write(report, &[READY]);
    Ok(())
}

/// Waits for the word. Who connects and goes has not said it.
fn await_start(listener: &UnixListener) -> Outcome<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                if matches!(stream.read(&mut [0]), Ok(1)) {
                    return Ok(());
                }
            }
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Err(format!("wait for the start: {err}")),
        }
    }
}
