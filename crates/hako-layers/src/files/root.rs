//! A container's root directory: where every path of it is resolved.

use super::{
    failed,
    names::{absolute, join, split},
};
use hako_model::{Error, Result};
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// A rename that comes in the way of `..` makes the kernel give up; it is asked
/// again this often, so that a container that renames without end gets an error.
const ATTEMPTS: usize = 128;
/// Links on one path, as the kernel has it.
const MAX_LINKS: usize = 40;
/// The longest path, as the kernel has it.
const MAX_PATH: usize = 4096;

/// The root. Links in it lead back into it, `..` of it is itself, and the
/// magic links of `/proc` lead nowhere.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// Everything that is asked of a file here.
pub(super) const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// What the kernel says of an open file, whatever its kind.
pub(super) fn stat_of(fd: impl AsFd) -> rustix::io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    fs::statx(fd, c"", flags, WANTED)
}

/// The kind of file.
pub(super) fn kind_of(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// The very file that a descriptor of it (`O_PATH`) is for, opened. Whatever
/// the name that led to it means by now, this is the same file.
pub(super) fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::openat(CWD, link, flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())
}

impl Root {
    /// The root that `dir` is open for.
    #[must_use]
    pub fn new(dir: OwnedFd) -> Self {
        Self(dir)
    }

    /// The directory `path` of this process as a root.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::openat(CWD, path, flags, Mode::empty())
            .map(Self)
            .map_err(failed("open", path.as_os_str().as_encoded_bytes()))
    }

    /// The directory itself.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens `path`, which may be anything, without touching it.
    pub(super) fn find(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match self.ask(path, flags) {
            // A mount of no namespace (an image's) answers so to each absolute
            // link with `..` in it. Without links there is no such step; and
            // whatever becomes of the names meanwhile, the root is kept.
            Err(Errno::AGAIN) => self.ask(&self.without_links(path, flags)?, flags),
            other => other,
        }
    }

    /// The same place by a path without links on the way.
    fn without_links(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<Vec<u8>> {
        let path = absolute(path);
        if !flags.contains(OFlags::NOFOLLOW) || path == b"/" {
            return self.follow(&path);
        }
        let (parent, name) = split(&path);
        Ok(join(&self.follow(parent)?, name))
    }

    /// One question to the kernel, repeated while it is not answered.
    fn ask(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            match fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens the directory `path`, links followed.
    pub(super) fn find_dir(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.find(path, OFlags::DIRECTORY)
    }

    /// Opens the regular file `path`, links followed, for reading.
    ///
    /// # Errors
    /// The kernel's; that it is not a regular file.
    pub fn read(&self, path: &[u8]) -> Result<File> {
        let fd = self.find(path, OFlags::empty()).map_err(failed("open", path))?;
        let stat = stat_of(&fd).map_err(failed("stat", path))?;
        if kind_of(&stat) != FileType::RegularFile {
            return Err(Error::invalid(format!("{} is no regular file", String::from_utf8_lossy(path))));
        }
        reopen(fd.as_fd(), OFlags::RDONLY).map(File::from).map_err(failed("open", path))
    }

    /// Makes the directory `path` and its parents where they are missing, as
    /// root's with mode 0755; opens it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_dirs(&self, path: &[u8]) -> Result<OwnedFd> {
        self.make_dirs_as(path, None)
    }

    /// [`Root::make_dirs`], where what is made becomes `owner`'s.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_dirs_as(&self, path: &[u8], owner: Option<(u32, u32)>) -> Result<OwnedFd> {
        let path = absolute(path);
        let mut missing = Vec::new();
        let mut at = path.as_slice();
        let mut dir = loop {
            match self.find_dir(at) {
                Ok(dir) => break dir,
                Err(Errno::NOENT) if at != b"/" => {
                    let (parent, name) = split(at);
                    missing.push((at, name));
                    at = parent;
                }
                Err(err) => return Err(failed("mkdir", at)(err)),
            }
        };
        while let Some((at, name)) = missing.pop() {
            let made = match fs::mkdirat(&dir, name, Mode::from(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(err) => return Err(failed("mkdir", at)(err)),
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = fs::openat(&dir, name, flags, Mode::empty()).map_err(failed("mkdir", at))?;
            if let Some((uid, gid)) = owner.filter(|_| made) {
                let (uid, gid) = (Some(fs::Uid::from_raw(uid)), Some(fs::Gid::from_raw(gid)));
                fs::chownat(&dir, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(failed("chown", at))?;
            }
        }
        Ok(dir)
    }

    /// Opens `path` for something to be mounted on; made if absent, as a
    /// directory or as an empty file, and found as the container would find it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount_point(&self, path: &[u8], is_dir: bool) -> Result<OwnedFd> {
        let path = absolute(path);
        match self.find(&path, OFlags::empty()) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(failed("open", &path)),
        }
        if is_dir {
            return self.make_dirs(&path);
        }
        let (parent, name) = split(&path);
        let dir = self.make_dirs(parent)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&dir, name, flags, Mode::from(0o755)).map_err(failed("open", &path))?;
        drop(file);
        self.find(&path, OFlags::NOFOLLOW).map_err(failed("open", &path))
    }

    /// Where `path` leads to in this root, all links followed as far as they lead.
    ///
    /// # Errors
    /// The kernel's.
    pub fn real(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.follow(path).map_err(failed("readlink", path))
    }

    /// Where `path` leads to, all links followed as far as they lead: text for
    /// a client, which asks again by it.
    pub(super) fn follow(&self, path: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let mut todo: Vec<Vec<u8>> = components(path).rev().collect();
        let mut done = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_slice() {
                b"." => continue,
                b".." => {
                    done.truncate(done.iter().rposition(|b| *b == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let mut next = done.clone();
            next.push(b'/');
            next.extend_from_slice(&part);
            if next.len() > MAX_PATH {
                return Err(Errno::NAMETOOLONG);
            }
            match self.link(&next)? {
                None => done = next,
                Some(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    todo.extend(components(&target).rev());
                }
            }
        }
        if done.is_empty() {
            done.push(b'/');
        }
        Ok(done)
    }

    /// What the link `path` says; `None` where it is none or nothing is there.
    fn link(&self, path: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
        let fd = match self.ask(path, OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(err) => return Err(err),
        };
        if kind_of(&stat_of(&fd)?) != FileType::Symlink {
            return Ok(None);
        }
        Ok(Some(fs::readlinkat(&fd, c"", Vec::new())?.into_bytes()))
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}
