//! Looking into a root filesystem that nobody trusts: every path is resolved
//! inside it by the kernel (openat2 with RESOLVE_IN_ROOT), so that no link of
//! an image leads out.

use crate::error::{Context, Error, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use pathrs::{InodeType, Root};
use std::fs::Permissions;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// No account file is larger; a huge one is cut, not read.
const MAX_FILE: u64 = 8 << 20;

/// A root filesystem, before or behind the mounts of its container.
pub struct Rootfs(Root);

impl Rootfs {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        // Not by pathrs, which follows no last link: `/proc/<pid>/root` is one.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty());
        fd.map(|fd| Self(Root::from_fd(fd))).context(|| format!("open root filesystem {}", path.display()))
    }

    /// A small text file; empty if it is absent or no regular file.
    pub fn text(&self, path: &str) -> Result<String> {
        let Ok(handle) = self.0.resolve(path) else { return Ok(String::new()) };
        // Not opened before its type is known: opening a FIFO waits, and
        // opening a device may do anything.
        let handle = std::fs::File::from(std::os::fd::OwnedFd::from(handle));
        if !handle.metadata().context(|| format!("stat {path}"))?.is_file() {
            return Ok(String::new());
        }
        // Not by pathrs, which proves the host's `/proc` first, in fifty system calls.
        let file = std::fs::File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
            .context(|| format!("open {path} in the root filesystem"))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).context(|| format!("read {path}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a directory with its parents if it is absent. That it cannot be
    /// made is found out inside, where the mounts are.
    pub fn make_directory(&self, path: &Path) {
        if self.0.resolve(path).is_err() {
            _ = self.0.mkdir_all(path, &Permissions::from_mode(0o755));
        }
    }

    /// Makes a device node with its parents. One that is there is taken as it
    /// is: what it may be used for is the device cgroup's to say.
    pub fn make_device(&self, path: &Path, block: bool, device: u64, mode: u32, owner: (u32, u32)) -> Result<()> {
        let failed = |err: pathrs::error::Error| Error::because(format!("make device {}", path.display()), err);
        if self.0.resolve_nofollow(path).is_ok() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_directory(parent);
        }
        let permissions = Permissions::from_mode(mode & 0o7777);
        let inode = if block {
            InodeType::BlockDevice(permissions, device)
        } else {
            InodeType::CharacterDevice(permissions, device)
        };
        let old = nix::sys::stat::umask(Mode::empty());
        let made = self.0.create(path, &inode);
        nix::sys::stat::umask(old);
        made.map_err(failed)?;
        let node = self.0.resolve_nofollow(path).map_err(failed)?;
        let (uid, gid) = (nix::unistd::Uid::from_raw(owner.0), nix::unistd::Gid::from_raw(owner.1));
        let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
        nix::unistd::fchownat(node.as_fd(), "", Some(uid), Some(gid), flags)
            .context(|| format!("chown {}", path.display()))
    }
}
