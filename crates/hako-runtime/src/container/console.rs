//! The terminal of a container, made in its own devpts.

use super::mounts;
use crate::error::{Context, Error, Result, errno_text};
use crate::sys;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);
/// What fs/devpts gives its `ptmx`.
const PTMX_INODE: u64 = 2;
const PTMX: u64 = libc::makedev(5, 2);
/// `UNIX98_PTY_SLAVE_MAJOR` and the seven after it.
const SLAVES: std::ops::Range<u32> = 136..144;

/// The caller's socket, which gets the terminal's other end.
pub(super) fn connect(path: &Path) -> Result<UnixStream> {
    // Its path may be longer than a socket's address.
    let (dir, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let dir = sys::open_directory(dir).context(|| format!("open {}", dir.display()))?;
    UnixStream::connect(sys::in_directory(&dir, name)).context(|| format!("connect to {}", path.display()))
}

/// Makes a terminal, sends its master away, and makes its slave this session's
/// terminal and stdio. With `own` it is `/dev/console` as well.
pub(super) fn set_up(socket: UnixStream, own: bool) -> std::result::Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno| format!("{what}: {}", errno_text(errno))
    };
    let pair = nix::pty::openpty(None, None).map_err(failed("make a terminal"))?;
    check(&pair.master, |stat| stat.st_ino == PTMX_INODE && stat.st_rdev == PTMX)?;
    check(&pair.slave, |stat| SLAVES.contains(&libc::major(stat.st_rdev)))?;
    if own {
        let flags = OFlag::O_CREAT
            | OFlag::O_WRONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NOCTTY
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let place = nix::fcntl::open("/dev/console", flags, Mode::from_bits_truncate(0o666));
        let place = place.map_err(failed("make /dev/console"))?;
        let tree = mounts::copy_of(pair.slave.as_fd(), false).map_err(failed("mount /dev/console"))?;
        mounts::attach(tree.as_fd(), place.as_fd()).map_err(failed("mount /dev/console"))?;
    }
    hako_os::fd::send(&socket, b"/dev/ptmx", &[pair.master.as_fd()])
        .map_err(|err| format!("send the terminal: {err}"))?;
    // A process that already has one keeps it.
    _ = sys::set_controlling_terminal(pair.slave.as_fd());
    for number in 0..3 {
        sys::dup_to(pair.slave.as_fd(), number).map_err(failed("the terminal as stdio"))?;
    }
    Ok(())
}

/// It is what the kernel gives, not what an image has put there (CVE-2025-52565).
fn check(fd: &OwnedFd, is: impl Fn(&FileStat) -> bool) -> std::result::Result<(), String> {
    let of_devpts = fstatfs(fd).is_ok_and(|stat| stat.filesystem_type() == DEVPTS_SUPER_MAGIC);
    let character = |stat: &FileStat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    if of_devpts && fstat(fd).is_ok_and(|stat| character(&stat) && is(&stat)) {
        return Ok(());
    }
    Err(Error::message("/dev/ptmx of the container makes no terminal of its own").to_string())
}
