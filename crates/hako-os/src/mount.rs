//! Mounts: options as `mount(8)` writes them, and overlays with many layers.

pub mod foreign;
mod sealed;
pub mod table;
pub mod tree;

pub use sealed::sealed;

use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount as sys_mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// The kernel copies one page of options, the last byte of it a zero.
const MAX_DATA: usize = 4095;

/// The options that are flags of mount(2); all others are the filesystem's.
const FLAGS: &[(&str, MsFlags)] = &[
    ("ro", MsFlags::MS_RDONLY),
    ("rw", MsFlags::empty()),
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("sync", MsFlags::MS_SYNCHRONOUS),
    ("dirsync", MsFlags::MS_DIRSYNC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
    ("strictatime", MsFlags::MS_STRICTATIME),
    ("mand", MsFlags::MS_MANDLOCK),
    // What is so anyway.
    ("defaults", MsFlags::empty()),
    ("suid", MsFlags::empty()),
    ("dev", MsFlags::empty()),
    ("exec", MsFlags::empty()),
    ("async", MsFlags::empty()),
    ("atime", MsFlags::empty()),
    ("diratime", MsFlags::empty()),
    ("norelatime", MsFlags::empty()),
    ("nostrictatime", MsFlags::empty()),
    ("nomand", MsFlags::empty()),
    ("bind", MsFlags::MS_BIND),
    ("rbind", MsFlags::from_bits_truncate(MsFlags::MS_BIND.bits() | MsFlags::MS_REC.bits())),
];

/// How mounts come and go with those of their group.
const PROPAGATIONS: &[(&str, MsFlags)] = &[
    ("private", MsFlags::MS_PRIVATE),
    ("rprivate", MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("shared", MsFlags::MS_SHARED),
    ("rshared", MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
    ("slave", MsFlags::MS_SLAVE),
    ("rslave", MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
    ("unbindable", MsFlags::MS_UNBINDABLE),
    ("runbindable", MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
];

/// Makes the mount at `target` propagate as `word` says (`rprivate`, …).
///
/// # Errors
/// The kernel's; `InvalidInput` for a word that is none.
pub fn propagate(target: &Path, word: &str) -> io::Result<()> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("no kind of propagation: {word:?}"));
    let flags = PROPAGATIONS.iter().find(|row| row.0 == word).ok_or_else(bad)?.1;
    sys_mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// Mounts what the options of a volume say, in the order and with the words of
/// `mount(8)`, propagation among them.
///
/// # Errors
/// The kernel's; nothing is mounted then.
pub fn mount_volume(kind: &str, source: &str, target: &Path, options: &[String]) -> io::Result<()> {
    let is_propagation = |option: &&String| PROPAGATIONS.iter().any(|row| row.0 == option.as_str());
    let (propagations, plain): (Vec<&String>, Vec<&String>) = options.iter().partition(is_propagation);
    let plain: Vec<String> = plain.into_iter().cloned().collect();
    mount(kind, source, target, &plain)?;
    for word in propagations {
        propagate(target, word).inspect_err(|_| {
            // The error that came first says why.
            let _ = unmount(target);
        })?;
    }
    Ok(())
}

/// Splits options into mount(2)'s flags and the filesystem's data.
#[must_use]
pub fn parse_options(options: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options {
        match FLAGS.iter().find(|row| row.0 == option) {
            Some(row) => flags |= row.1,
            None => data.push(option),
        }
    }
    (flags, data.join(","))
}

/// Mounts `source` on the existing folder `target`.
///
/// An overlay whose options are longer than the kernel takes is mounted with
/// its lower directories named relative to their common parent; for that
/// moment the working directory of the process is that parent.
///
/// # Errors
/// The kernel's, and `InvalidInput` for options that are too long all the same.
pub fn mount(kind: &str, source: &str, target: &Path, options: &[String]) -> io::Result<()> {
    let (flags, data) = parse_options(options);
    if flags.contains(MsFlags::MS_BIND) {
        return bind(source, target, flags);
    }
    if data.len() <= MAX_DATA {
        sys_mount(Some(source), target, Some(kind), flags, Some(data.as_str()))?;
        return Ok(());
    }
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("{kind} options of {} bytes are too long", data.len()));
    let (parent, data) = shorten(options).ok_or_else(too_long)?;
    if data.len() > MAX_DATA {
        return Err(too_long());
    }
    let here = File::open(".")?;
    std::env::set_current_dir(&parent)?;
    let mounted = sys_mount(Some(source), target, Some(kind), flags, Some(data.as_str()));
    nix::unistd::fchdir(&here)?;
    mounted?;
    Ok(())
}

/// A bind mount takes its other flags only in a second call.
fn bind(source: &str, target: &Path, flags: MsFlags) -> io::Result<()> {
    sys_mount(Some(source), target, None::<&str>, flags & (MsFlags::MS_BIND | MsFlags::MS_REC), None::<&str>)?;
    let rest = flags - MsFlags::MS_REC - MsFlags::MS_BIND;
    if rest.is_empty() {
        return Ok(());
    }
    let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | rest;
    sys_mount(None::<&str>, target, None::<&str>, remount, None::<&str>).map_err(|err| {
        // The mount is of no use without its flags; the first error is the one to tell.
        let _ = unmount(target);
        io::Error::from(err)
    })
}

/// The common parent of an overlay's lower directories, and the data with the
/// directories relative to it.
fn shorten(options: &[String]) -> Option<(PathBuf, String)> {
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="))?;
    let mut dirs = lower.split(':').map(Path::new);
    let mut parent = dirs.next()?.parent()?.to_owned();
    for dir in dirs {
        while !dir.starts_with(&parent) {
            parent = parent.parent()?.to_owned();
        }
    }
    let relative: Option<Vec<&str>> =
        lower.split(':').map(|dir| Path::new(dir).strip_prefix(&parent).ok()?.to_str()).collect();
    let lower = format!("lowerdir={}", relative?.join(":"));
    let options: Vec<String> = options
        .iter()
        .map(|option| if option.starts_with("lowerdir=") { lower.clone() } else { option.clone() })
        .collect();
    Some((parent, parse_options(&options).1))
}

/// Unmounts `target` and, lazily, what is mounted below it. Nothing being
/// mounted there is no error.
///
/// # Errors
/// The kernel's.
pub fn unmount(target: &Path) -> io::Result<()> {
    match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Gives the calling thread a mount namespace of its own, into which the old
/// one's mounts still propagate and out of which none do. Other threads keep
/// the old one.
///
/// # Errors
/// The kernel's.
pub fn own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    sys_mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    Ok(())
}

/// Makes the mount at `target` read-only; what is mounted below stays as it is.
///
/// # Errors
/// The kernel's.
pub fn remount_read_only(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    sys_mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// Binds `source`, with what is mounted in it, on what `target` is open for:
/// no name is followed on the way there.
///
/// # Errors
/// The kernel's.
pub fn bind_on(source: &Path, target: BorrowedFd<'_>) -> io::Result<()> {
    let place = format!("/proc/self/fd/{}", target.as_raw_fd());
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    sys_mount(Some(source), place.as_str(), None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// An overlay that nobody else sees, mounted on the folder `at` in a namespace
/// of its own, which ends with this call: what is answered is the one way to
/// its files, and the mount goes when that is closed, also by a SIGKILL.
/// `at` itself stays as it is.
///
/// # Errors
/// The kernel's, and options that are too long.
pub fn overlay_root(options: &[String], at: &Path) -> io::Result<OwnedFd> {
    let (options, at) = (options.to_vec(), at.to_owned());
    // A thread of its own, so that the namespace is nobody else's.
    let enter = move || -> io::Result<OwnedFd> {
        own_namespace()?;
        mount("overlay", "overlay", &at, &options)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open(&at, flags, nix::sys::stat::Mode::empty())?)
    };
    let thread = std::thread::Builder::new().name("overlay".into()).stack_size(128 << 10).spawn(enter)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts an overlay panicked")))
}

/// The root directory of the mount namespace of process `pid`, which the caller
/// keeps from being collected: what its container sees, mounts included.
///
/// # Errors
/// The kernel's; that the process has ended.
pub fn root_of(pid: i32) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    // A thread of its own enters the namespace, and ends with the answer.
    let enter = move || -> io::Result<OwnedFd> {
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open("/", flags, nix::sys::stat::Mode::empty())?)
    };
    let thread = std::thread::Builder::new().name("root".into()).stack_size(64 << 10).spawn(enter)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that enters a namespace panicked")))
}

/// The device file of the virtio disk with this serial.
///
/// # Errors
/// `NotFound` if there is none.
pub fn disk_by_serial(serial: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let read = fs::read_to_string(entry.path().join("serial"));
        if read.is_ok_and(|found| found.trim_end() == serial) {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no disk with the serial {serial:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn flags_and_data_are_told_apart() {
        let (flags, data) = parse_options(&owned(&["ro", "lowerdir=/a:/b", "nosuid", "metacopy=on"]));
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(data, "lowerdir=/a:/b,metacopy=on");
    }

    #[test]
    fn lower_directories_become_relative_to_their_parent() {
        let (parent, data) = shorten(&owned(&["lowerdir=/d/layers/12:/d/layers/3", "upperdir=/d/c/u"])).unwrap();
        assert_eq!(parent, Path::new("/d/layers"));
        assert_eq!(data, "lowerdir=12:3,upperdir=/d/c/u");
    }
}
