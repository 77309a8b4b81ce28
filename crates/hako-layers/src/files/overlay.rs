//! What a container has written, against its image: the two sides of an
//! overlay, walked together.
//!
//! The upper directory is read as overlayfs writes it: a whiteout is a character
//! device 0/0, a directory that hides what is below has the attribute
//! `trusted.overlay.opaque`. Mounts are made without `redirect_dir` and
//! `metacopy`, so that nothing in the upper directory means something else.

use super::{
    MAX_DEPTH, failed,
    names::join,
    pack::{Names, list, look},
    root::{kind_of, stat_of},
    stat::too_deep,
};
use hako_model::{Error, Result};
use rustix::{
    fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags, Statx},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// The two sides.
#[derive(Debug)]
pub struct Overlay {
    upper: OwnedFd,
    /// The top first.
    lowers: Vec<OwnedFd>,
}

/// What is below at a name.
struct Below {
    what: Statx,
    /// Of a directory: which of the lower ones are merged there, the top first.
    merged: Vec<usize>,
}

/// Something in the upper directory.
pub(super) struct Found<'a> {
    pub fd: BorrowedFd<'a>,
    pub what: &'a Statx,
    /// Absolute in the container.
    pub path: &'a [u8],
    pub below: Option<&'a Statx>,
    /// A directory that hides what is below.
    pub opaque: bool,
}

/// Who is told of what there is, directories before what is in them.
pub(super) trait Visitor {
    /// Something that is not a whiteout. Of a directory, [`Visitor::leave`]
    /// tells when all in it has been told of.
    fn enter(&mut self, found: &Found<'_>) -> Result<()>;
    /// All that is in the directory told of last was told of.
    fn leave(&mut self);
    /// Something below that is not there any more.
    fn gone(&mut self, path: &[u8]) -> Result<()>;
    /// Whether names that an opaque directory hides are told of as gone.
    fn tells_hidden(&self) -> bool;
}

/// A directory on the way down. It holds one open file, however many layers there are.
struct Level {
    names: Names,
    path: Vec<u8>,
    /// Which lower directories are merged here.
    merged: Vec<usize>,
    opaque: bool,
}

impl Overlay {
    /// Opens both sides, the lower ones top first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(upper: &Path, lowers: &[impl AsRef<Path>]) -> Result<Self> {
        let dir = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs::openat(CWD, path, flags, Mode::empty()).map_err(failed("open", path.as_os_str().as_encoded_bytes()))
        };
        let lowers = lowers.iter().map(|path| dir(path.as_ref())).collect::<Result<_>>()?;
        Ok(Self { upper: dir(upper)?, lowers })
    }

    /// Tells `visitor` of everything.
    pub(super) fn walk(&self, visitor: &mut impl Visitor) -> Result<()> {
        let at = || failed("open", b"/");
        let names = Names::new(list(self.upper.as_fd()).map_err(at())?, 0).map_err(at())?;
        let opaque = is_opaque(self.upper.as_fd()).map_err(at())?;
        let merged = (0..self.lowers.len()).collect();
        let mut levels = vec![Level { names, path: b"/".to_vec(), merged, opaque }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next().map_err(failed("readdirent", &level.path))? else {
                if level.opaque && visitor.tells_hidden() {
                    self.tell_hidden(level, visitor)?;
                }
                levels.pop();
                if !levels.is_empty() {
                    visitor.leave();
                }
                continue;
            };
            let depth = levels.len();
            let Some(level) = levels.last() else { break };
            if let Some(next) = self.step(level, &name, depth, visitor)? {
                if depth >= MAX_DEPTH {
                    return Err(too_deep(&next.path));
                }
                levels.push(next);
            }
        }
        Ok(())
    }

    /// One name of a directory; the answer is the directory that it is.
    fn step(&self, level: &Level, name: &CString, depth: usize, visitor: &mut impl Visitor) -> Result<Option<Level>> {
        let path = join(&level.path, name.to_bytes());
        let at = |op| failed(op, &path);
        let dir = level.names.fd().map_err(at("open"))?;
        let Some((fd, what)) = look(dir, name).map_err(at("lstat"))? else { return Ok(None) };
        let below = self.find(&level.merged, &path).map_err(at("lstat"))?;
        if is_whiteout(&what) {
            if below.is_some() {
                visitor.gone(&path)?;
            }
            return Ok(None);
        }
        let is_dir = kind_of(&what) == FileType::Directory;
        let readable = if is_dir { Some(list(fd.as_fd()).map_err(at("open"))?) } else { None };
        let mut opaque = match &readable {
            Some(dir) => {
                check_plain(dir.as_fd(), &path).and_then(|()| is_opaque(dir.as_fd()).map_err(at("getxattr")))?
            }
            None => false,
        };
        opaque &= below.as_ref().is_some_and(|below| !below.merged.is_empty());
        let under = below.as_ref().map(|below| &below.what);
        visitor.enter(&Found { fd: fd.as_fd(), what: &what, path: &path, below: under, opaque })?;
        let Some(readable) = readable else { return Ok(None) };
        let names = Names::new(readable, depth).map_err(at("open"))?;
        let merged = below.map(|below| below.merged).unwrap_or_default();
        Ok(Some(Level { names, path, merged, opaque }))
    }

    /// What an opaque directory hides and has not itself.
    fn tell_hidden(&self, level: &Level, visitor: &mut impl Visitor) -> Result<()> {
        let at = || failed("open", &level.path);
        let own = level.names.fd().map_err(at())?;
        for (index, lower) in level.merged.iter().enumerate() {
            let Some((dir, _)) = self.below(*lower, &level.path).map_err(at())? else { continue };
            let mut names = Names::new(list(dir.as_fd()).map_err(at())?, 0).map_err(at())?;
            while let Some(name) = names.next().map_err(at())? {
                let path = join(&level.path, name.to_bytes());
                let mut told = look(own, &name).map_err(at())?.is_some();
                for above in &level.merged[..index] {
                    told = told || self.below(*above, &path).map_err(at())?.is_some();
                }
                if !told && self.find(&level.merged, &path).map_err(at())?.is_some() {
                    visitor.gone(&path)?;
                }
            }
        }
        Ok(())
    }

    /// What one lower directory has at a path, without touching it.
    fn below(&self, lower: usize, path: &[u8]) -> rustix::io::Result<Option<(OwnedFd, Statx)>> {
        let relative = path.strip_prefix(b"/").filter(|path| !path.is_empty()).unwrap_or(b".");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // The end of the path may be a link; the way there is directories alone.
        match fs::openat2(&self.lowers[lower], relative, flags, Mode::empty(), resolve) {
            Ok(fd) => stat_of(&fd).map(|what| Some((fd, what))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// What the merged lower directories have at a path, as overlayfs merges them.
    fn find(&self, merged: &[usize], path: &[u8]) -> rustix::io::Result<Option<Below>> {
        let mut below: Option<Below> = None;
        for lower in merged {
            let Some((fd, what)) = self.below(*lower, path)? else { continue };
            let is_dir = kind_of(&what) == FileType::Directory;
            match (&mut below, is_dir) {
                (_, _) if is_whiteout(&what) => break,
                (None, false) => return Ok(Some(Below { what, merged: Vec::new() })),
                // A file below a directory is hidden by it.
                (Some(_), false) => break,
                (known, true) => {
                    known.get_or_insert_with(|| Below { what, merged: Vec::new() }).merged.push(*lower);
                    if is_opaque(fd.as_fd())? {
                        break;
                    }
                }
            }
        }
        Ok(below)
    }
}

fn is_whiteout(what: &Statx) -> bool {
    kind_of(what) == FileType::CharacterDevice && what.stx_rdev_major == 0 && what.stx_rdev_minor == 0
}

/// An attribute of what `fd` is open for, in whatever way; `None` where it has none.
fn attribute(fd: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<Vec<u8>>> {
    let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mut value = [0; 256];
    match fs::getxattr(place, name, value.as_mut_slice()) {
        Ok(len) => Ok(Some(value[..len].to_vec())),
        Err(Errno::RANGE) => Ok(Some(value.to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(err) => Err(err),
    }
}

fn is_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(attribute(dir, c"trusted.overlay.opaque")?.as_deref() == Some(b"y"))
}

/// A directory that was renamed by a kernel which only notes the old name.
fn check_plain(dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
    match attribute(dir, c"trusted.overlay.redirect").map_err(failed("getxattr", path))? {
        None => Ok(()),
        Some(_) => {
            Err(Error::unsupported(format!("{}: a directory that overlayfs has redirected", crate::error::show(path))))
        }
    }
}

/// Mode, owner and kind, as far as they tell one file from another.
pub(super) fn same_head(a: &Statx, b: &Statx) -> bool {
    a.stx_mode == b.stx_mode && a.stx_uid == b.stx_uid && a.stx_gid == b.stx_gid
}
