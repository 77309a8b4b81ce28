//! Looking into a root filesystem that nobody trusts: every path is resolved
//! inside it by the kernel (openat2 with RESOLVE_IN_ROOT), so that no link of
//! an image leads out.

use crate::error::{Context, Error, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use pathrs::Root;
use pathrs::flags::OpenFlags;
use std::fs::Permissions;
use std::io::Read;
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
        let file = pathrs::Handle::from_fd(handle)
            .reopen(OpenFlags::O_RDONLY | OpenFlags::O_CLOEXEC)
            .map_err(|err| Error::because(format!("open {path} in the root filesystem"), err))?;
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
}
