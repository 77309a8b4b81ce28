//! The mounts of a container, by descriptors alone: a mount is made without a
//! place, gets its attributes, and is then moved to a place that was resolved
//! inside the root filesystem.
//!
//! Words of propagation (`rprivate`, …) say nothing here: a copy of a mount
//! propagates as that one does, which the caller has seen to.

use crate::error::{Context, Error, Result, errno_text};
use crate::rootfs::{Rootfs, plain};
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use serde::Deserialize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Files of `/proc` that something else may be mounted on (lxcfs does), as in runc.
const OF_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// OCI's `mounts`.
#[derive(Debug, Clone, Deserialize)]
pub struct Mount {
    /// Where, in the root filesystem.
    pub destination: PathBuf,
    /// The filesystem.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What of.
    pub source: Option<String>,
    /// Its options, flags and the filesystem's own.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// Whether it shows a part of the tree once more.
    pub fn is_bind(&self) -> bool {
        self.kind.as_deref() == Some("bind") || self.options.iter().any(|word| word == "bind" || word == "rbind")
    }
}

/// What the words of a mount's options come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Of the mount itself.
    top: Attributes,
    /// Of it and all below it.
    all: Attributes,
    /// The filesystem's.
    data: Vec<String>,
}

/// `mount_setattr`'s.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    set: u64,
    clear: u64,
}

/// (word, whether it takes the attribute away, attribute): mount(8)'s, and with
/// an `r` in front OCI's for everything below as well.
const WORDS: [(&str, bool, u64); 18] = [
    ("ro", false, libc::MOUNT_ATTR_RDONLY),
    ("rw", true, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", false, libc::MOUNT_ATTR_NOSUID),
    ("suid", true, libc::MOUNT_ATTR_NOSUID),
    ("nodev", false, libc::MOUNT_ATTR_NODEV),
    ("dev", true, libc::MOUNT_ATTR_NODEV),
    ("noexec", false, libc::MOUNT_ATTR_NOEXEC),
    ("exec", true, libc::MOUNT_ATTR_NOEXEC),
    ("nodiratime", false, libc::MOUNT_ATTR_NODIRATIME),
    ("diratime", true, libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", false, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("symfollow", true, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("noatime", false, libc::MOUNT_ATTR_NOATIME),
    ("strictatime", false, libc::MOUNT_ATTR_STRICTATIME),
    // The kernel's default.
    ("relatime", false, libc::MOUNT_ATTR_RELATIME),
    ("atime", false, libc::MOUNT_ATTR_RELATIME),
    ("norelatime", false, libc::MOUNT_ATTR_RELATIME),
    ("nostrictatime", false, libc::MOUNT_ATTR_RELATIME),
];
const TIMES: [&str; 6] = ["noatime", "strictatime", "relatime", "atime", "norelatime", "nostrictatime"];
/// Said elsewhere, or nothing.
const SILENT: [&str; 13] = [
    "defaults",
    "bind",
    "rbind",
    "async",
    "nomand",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

impl Attributes {
    /// Takes a word in; says whether it is one. Where it takes an attribute away,
    /// that is one of an earlier word, and with `anyway` also one that the mount
    /// has: a bind of a read-only mount stays read-only in Docker.
    fn take(&mut self, word: &str, anyway: bool) -> bool {
        let Some((_, away, attribute)) = WORDS.iter().find(|(known, ..)| *known == word) else { return false };
        if TIMES.contains(&word) {
            // Three values of one field: the kernel wants the whole field cleared.
            self.clear |= libc::MOUNT_ATTR__ATIME;
            self.set = self.set & !libc::MOUNT_ATTR__ATIME | attribute;
        } else if *away {
            self.set &= !attribute;
            if anyway {
                self.clear |= attribute;
            }
        } else {
            self.set |= attribute;
            self.clear &= !attribute;
        }
        true
    }
}

fn options(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        let known = options.top.take(word, false)
            || SILENT.contains(&word.as_str())
            || word.strip_prefix('r').is_some_and(|rest| options.all.take(rest, true));
        if !known {
            if word == "idmap" || word == "ridmap" {
                return Err(Error::message(format!("not supported: the mount option {word}")));
            }
            options.data.push(word.clone());
        }
    }
    Ok(options)
}

/// What of the control groups of version 2 a container sees.
#[derive(Debug, Clone, Copy)]
pub enum Groups<'a> {
    /// From its own on, which lies there: it has a namespace for them.
    Own(Option<&'a Path>),
    /// All of them. A new mount would set the machine's options of them.
    All,
}

/// A tmpfs is made read-only when all is made that lies in it.
fn is_finished_later(mount: &Mount) -> bool {
    mount.kind.as_deref() == Some("tmpfs") && !mount.is_bind()
}

/// What [`make`] has left until everything is made.
pub fn finish(root: &Rootfs, mount: &Mount) -> Result<()> {
    if !is_finished_later(mount) || options(&mount.options)?.top.set & libc::MOUNT_ATTR_RDONLY == 0 {
        return Ok(());
    }
    let made = root.resolve(&plain(&mount.destination), OFlag::empty());
    made.and_then(|place| sys::mount_setattr(place.as_fd(), false, libc::MOUNT_ATTR_RDONLY, 0))
        .context(|| format!("make {} read-only", mount.destination.display()))
}

/// Makes `mount` in `root`.
pub fn make(root: &Rootfs, mount: &Mount, groups: Groups<'_>) -> Result<()> {
    let source = mount.source.as_deref().unwrap_or("none");
    let failed = |reason: String| {
        let target = mount.destination.display();
        Error::message(format!("error mounting \"{source}\" to rootfs at \"{target}\": mount: {reason}"))
    };
    let mut options = options(&mount.options)?;
    if is_finished_later(mount) {
        options.top.set &= !libc::MOUNT_ATTR_RDONLY;
    }
    let target = plain(&mount.destination);
    let kernel = |errno| failed(errno_text(errno));
    if mount.is_bind() {
        let recursive = mount.options.iter().any(|word| word == "rbind");
        let tree = copy(Path::new(source), recursive).map_err(kernel)?;
        confine(tree.as_fd(), options.top, false).map_err(kernel)?;
        return place(root, &tree, &target, options.all, mount).map_err(failed);
    }
    let kind = mount.kind.as_deref().ok_or_else(|| failed("no type is given".to_owned()))?;
    let top = MountAttrFlags::from_bits_retain(u32::try_from(options.top.set).unwrap_or_default());
    let made = match kind {
        "cgroup" | "cgroup2" => {
            let shown = |path: &Path| {
                let tree = copy(path, false)?;
                confine(tree.as_fd(), options.top, false)?;
                Ok(tree)
            };
            match groups {
                Groups::All => shown(Path::new("/sys/fs/cgroup")),
                // Without the right to mount it: what it would show.
                Groups::Own(group) => new("cgroup2", source, &[], top).or_else(|errno| shown(group.ok_or(errno)?)),
            }
        }
        kind => new(kind, source, &options.data, top),
    };
    place(root, &made.map_err(kernel)?, &target, options.all, mount).map_err(failed)
}

/// The mount of what lies at `path`, once more.
pub fn copy(path: &Path, recursive: bool) -> nix::Result<OwnedFd> {
    let recursive = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive).map_err(errno)
}

/// The same of what `fd` stands for.
pub fn copy_of(fd: BorrowedFd<'_>, recursive: bool) -> nix::Result<OwnedFd> {
    let recursive = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(fd, "", flags | recursive).map_err(errno)
}

/// A new mount of a filesystem.
pub fn new(kind: &str, source: &str, data: &[String], attributes: MountAttrFlags) -> nix::Result<OwnedFd> {
    let make = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "source", source)?;
        for option in data.iter().filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
                None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
            }
        }
        fsconfig_create(context.as_fd())?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().map_err(errno)
}

fn errno(err: rustix::io::Errno) -> Errno {
    Errno::from_raw(err.raw_os_error())
}

/// Moves `tree` to where `target` leads.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags).map_err(errno)
}

fn confine(tree: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> nix::Result<()> {
    if attributes == Attributes::default() {
        return Ok(());
    }
    sys::mount_setattr(tree, recursive, attributes.set, attributes.clear)
}

fn place(
    root: &Rootfs,
    tree: &OwnedFd,
    target: &Path,
    all: Attributes,
    mount: &Mount,
) -> std::result::Result<(), String> {
    confine(tree.as_fd(), all, true).map_err(errno_text)?;
    let invalid = || format!("{} is not a valid mount under /proc", target.display());
    let allowed = OF_PROC.iter().any(|path| target == Path::new(path));
    if target != Path::new("/proc") && target.starts_with("/proc") && !allowed {
        return Err(invalid());
    }
    let stat = fstat(tree).map_err(errno_text)?;
    let is_directory = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    let place = if let Some(kind @ ("proc" | "sysfs")) = mount.kind.as_deref() {
        // What is looked for there later must be just this.
        root.directory(target).map_err(errno_text)?;
        let plainly = root.resolve_plainly(target, OFlag::O_DIRECTORY);
        plainly.map_err(|_| format!("filesystem {kind} must be mounted on ordinary directory"))?
    } else {
        let place = if is_directory { root.directory(target) } else { root.file(target) };
        place.map_err(errno_text)?
    };
    // What this runtime and the container's programs read and write in `/proc`
    // must be the kernel's, wherever a link has led.
    let is_proc = |fd: &OwnedFd| fstatfs(fd).map(|stat| stat.filesystem_type() == PROC_SUPER_MAGIC);
    if target == Path::new("/proc") {
        if !is_proc(tree).map_err(errno_text)? {
            return Err("/proc cannot be mounted because it is not type proc".to_owned());
        }
    } else if !allowed && is_proc(&place).map_err(errno_text)? {
        return Err(invalid());
    }
    attach(tree.as_fd(), place.as_fd()).map_err(errno_text)
}

/// Makes what lies at `path`, if anything does, a mount of its own with `set`.
pub fn restrict(path: &Path, set: u64) -> nix::Result<()> {
    let place = match nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        place => place?,
    };
    let tree = copy_of(place.as_fd(), true)?;
    sys::mount_setattr(tree.as_fd(), false, set, 0)?;
    attach(tree.as_fd(), place.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Options {
        options(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_are_attributes_or_the_filesystems() {
        let found = parsed(&["rbind", "rprivate", "ro", "nosuid", "suid", "size=64k", "mode=755", "strictatime"]);
        assert_eq!(found.top.set, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_STRICTATIME);
        assert_eq!(found.top.clear, libc::MOUNT_ATTR__ATIME);
        assert_eq!(found.data, ["size=64k", "mode=755"]);
        assert_eq!(found.all, Attributes::default());
        let found = parsed(&["rro", "rnosuid", "rsuid", "rw"]);
        assert_eq!(found.all, Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: libc::MOUNT_ATTR_NOSUID });
        // A bind of what is read-only stays so.
        assert_eq!(found.top, Attributes::default());
        assert!(found.data.is_empty());
        assert!(options(&["idmap".to_owned()]).is_err());
    }
}
