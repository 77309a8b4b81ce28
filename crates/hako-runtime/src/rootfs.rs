//! A root filesystem that nobody trusts: every path is resolved inside it by
//! the kernel (openat2 with RESOLVE_IN_ROOT, which follows no magic link), so
//! that no link of an image leads out.

use crate::error::{Context, Error, Result, errno_text};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat, umask};
use nix::unistd::{Gid, Uid, fchownat};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// No account file is larger; a huge one is cut, not read.
const MAX_FILE: u64 = 8 << 20;
/// A rename that comes in the way of `..` makes the kernel give up.
const ATTEMPTS: usize = 128;

/// A root filesystem, before or behind the mounts of its container.
pub struct Rootfs(OwnedFd);

/// A device node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where, absolute.
    pub path: PathBuf,
    /// Block, not character.
    pub block: bool,
    /// Its number.
    pub device: u64,
    /// Its permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
}

impl Rootfs {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty());
        fd.map(Self).context(|| format!("open root filesystem {}", path.display()))
    }

    /// What lies at `path`; links are followed, inside.
    pub fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        self.resolve_as(path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// What lies at `path`, where no part of it is a link.
    pub fn resolve_plainly(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        self.resolve_as(path, flags, ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    fn resolve_as(&self, path: &Path, flags: OFlag, how: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags).resolve(how);
        let mut left = ATTEMPTS;
        loop {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN) if left > 0 => left -= 1,
                found => return found,
            }
        }
    }

    /// The directory at `path`, made with its parents where they are missing.
    pub fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = plain(path);
        match self.resolve(&path, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let mut at = self.resolve(Path::new("/"), OFlag::O_DIRECTORY)?;
        let mut there = PathBuf::from("/");
        for name in path.iter().skip(1) {
            there.push(name);
            at = match self.resolve(&there, OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) => make_directory(at.as_fd(), name)?,
                found => found?,
            };
        }
        Ok(at)
    }

    /// What lies at `path`, or an empty file that is made there.
    pub fn file(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = plain(path);
        match self.resolve(&path, OFlag::empty()) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let (parent, name) = self.parent(&path)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::from_bits_truncate(0o644))
    }

    /// The directory that has `path`, made where it is missing, and the name in it.
    fn parent<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.directory(parent)?, name)),
            _ => Err(Errno::EISDIR),
        }
    }

    /// A small text file; empty if it is absent or no regular file.
    pub fn text(&self, path: &str) -> Result<String> {
        let Ok(handle) = self.resolve(Path::new(path), OFlag::empty()) else { return Ok(String::new()) };
        // Not opened before its type is known: opening a FIFO waits, and
        // opening a device may do anything.
        let stat = nix::sys::stat::fstat(&handle).context(|| format!("stat {path}"))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Ok(String::new());
        }
        let file = std::fs::File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
            .context(|| format!("open {path} in the root filesystem"))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).context(|| format!("read {path}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a directory with its parents if it is absent. That it cannot be
    /// made is found out inside, where the mounts are.
    pub fn make_directory(&self, path: &Path) {
        _ = self.directory(path);
    }

    /// Makes a device node with its parents. One that is there is taken as it
    /// is: what it may be used for is the device cgroup's to say.
    pub fn make_device(&self, node: &Node) -> Result<()> {
        let failed = |errno| Error::message(format!("make device {}: {}", node.path.display(), errno_text(errno)));
        let path = plain(&node.path);
        let (parent, name) = self.parent(&path).map_err(failed)?;
        let kind = if node.block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        let old = umask(Mode::empty());
        let made = mknodat(&parent, name, kind, Mode::from_bits_truncate(node.mode & 0o7777), node.device);
        umask(old);
        match made {
            Ok(()) if node.owner == (0, 0) => Ok(()),
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
                fchownat(&parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)
            }
            Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    // A link that leads nowhere is not followed to where it leads.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// `path` as an absolute one without `.` and `..`.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => _ = plain.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, image) = (dir.path().join("outside"), dir.path().join("image"));
        fs::create_dir_all(image.join("etc")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("passwd"), "secret").unwrap();
        symlink(outside.join("passwd"), image.join("etc/passwd")).unwrap();
        symlink("../../../outside", image.join("up")).unwrap();
        symlink("/etc", image.join("inside")).unwrap();
        symlink("nowhere", image.join("dangling")).unwrap();
        let root = Rootfs::open(&image).unwrap();
        assert_eq!(root.text("/etc/passwd").unwrap(), "");
        assert_eq!(root.file(Path::new("/etc/passwd")).unwrap_err(), Errno::EEXIST);
        assert!(root.directory(Path::new("/up/new")).is_err());
        assert!(root.directory(Path::new("/dangling/new")).is_err());
        root.directory(Path::new("/inside/a/../b/c")).unwrap();
        root.file(Path::new("/inside/b/file")).unwrap();
        assert!(image.join("etc/b/c").is_dir() && image.join("etc/b/file").is_file());
        assert!(!image.join("nowhere").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(root.resolve_plainly(Path::new("/inside"), OFlag::empty()).unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(plain(Path::new("a/./b/../../../c")), Path::new("/c"));
    }
}
