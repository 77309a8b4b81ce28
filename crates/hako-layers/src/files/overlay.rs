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
    root::kind_of,
    stat::too_deep,
};
use hako_model::{Error, Result};
use rustix::{
    fs::{self, CWD, FileType, Mode, OFlags, Statx},
    io::Errno,
};
use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// The two sides.
#[derive(Debug)]
pub struct Overlay {
    pub(super) upper: OwnedFd,
    /// The top first.
    pub(super) lowers: Vec<OwnedFd>,
}

/// What is below at a name.
pub(super) struct Below {
    pub what: Statx,
    /// Of a directory: every directory that is merged there, the top first.
    pub dirs: Vec<OwnedFd>,
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
    /// The end of an opaque directory's own names: whether names that are only
    /// below shall be told of as gone.
    fn tells_hidden(&self) -> bool;
}

struct Level {
    names: Names,
    path: Vec<u8>,
    lowers: Vec<OwnedFd>,
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
        let lowers = self.lowers.iter().map(|fd| list(fd.as_fd())).collect::<rustix::io::Result<_>>().map_err(at())?;
        let names = Names::new(list(self.upper.as_fd()).map_err(at())?).map_err(at())?;
        let opaque = is_opaque(self.upper.as_fd()).map_err(at())?;
        let mut levels = vec![Level { names, path: b"/".to_vec(), lowers, opaque }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next().map_err(failed("readdirent", &level.path))? else {
                if level.opaque && visitor.tells_hidden() {
                    tell_hidden(level, visitor)?;
                }
                levels.pop();
                if !levels.is_empty() {
                    visitor.leave();
                }
                continue;
            };
            if let Some(next) = step(level, &name, visitor)? {
                if levels.len() >= MAX_DEPTH {
                    return Err(too_deep(&next.path));
                }
                levels.push(next);
            }
        }
        Ok(())
    }
}

/// One name of a directory; the answer is the directory that it is.
fn step(level: &Level, name: &CString, visitor: &mut impl Visitor) -> Result<Option<Level>> {
    let path = join(&level.path, name.to_bytes());
    let at = |op| failed(op, &path);
    let dir = level.names.fd().map_err(at("open"))?;
    let Some((fd, what)) = look(dir, name).map_err(at("lstat"))? else { return Ok(None) };
    let below = find(&level.lowers, name).map_err(at("lstat"))?;
    if is_whiteout(&what) {
        if below.is_some() {
            visitor.gone(&path)?;
        }
        return Ok(None);
    }
    let is_dir = kind_of(&what) == FileType::Directory;
    let readable = if is_dir { Some(list(fd.as_fd()).map_err(at("open"))?) } else { None };
    let opaque = match &readable {
        Some(dir) => check_plain(dir.as_fd(), &path).and_then(|()| is_opaque(dir.as_fd()).map_err(at("getxattr")))?,
        None => false,
    };
    let opaque = opaque && below.as_ref().is_some_and(|below| !below.dirs.is_empty());
    let under = below.as_ref().map(|below| &below.what);
    visitor.enter(&Found { fd: fd.as_fd(), what: &what, path: &path, below: under, opaque })?;
    let Some(readable) = readable else { return Ok(None) };
    let names = Names::new(readable).map_err(at("open"))?;
    let lowers = below.map(|below| below.dirs).unwrap_or_default();
    Ok(Some(Level { names, path, lowers, opaque }))
}

/// What an opaque directory hides and has not itself.
fn tell_hidden(level: &Level, visitor: &mut impl Visitor) -> Result<()> {
    let at = || failed("open", &level.path);
    let own = level.names.fd().map_err(at())?;
    for (index, lower) in level.lowers.iter().enumerate() {
        let mut names = Names::new(list(lower.as_fd()).map_err(at())?).map_err(at())?;
        while let Some(name) = names.next().map_err(at())? {
            let known = |dir: BorrowedFd<'_>| look(dir, &name).map(|found| found.is_some());
            let mut told = known(own).map_err(at())?;
            for above in &level.lowers[..index] {
                told = told || known(above.as_fd()).map_err(at())?;
            }
            if !told && find(&level.lowers, &name).map_err(at())?.is_some() {
                visitor.gone(&join(&level.path, name.to_bytes()))?;
            }
        }
    }
    Ok(())
}

/// What the merged lower directories have at a name.
fn find(lowers: &[OwnedFd], name: &CString) -> rustix::io::Result<Option<Below>> {
    let mut below: Option<Below> = None;
    for dir in lowers {
        let Some((fd, what)) = look(dir.as_fd(), name)? else { continue };
        let is_dir = kind_of(&what) == FileType::Directory;
        match (&mut below, is_dir) {
            (_, _) if is_whiteout(&what) => break,
            (None, false) => return Ok(Some(Below { what, dirs: Vec::new() })),
            // A file below a directory is hidden by it.
            (Some(_), false) => break,
            (known, true) => {
                let dir = list(fd.as_fd())?;
                let opaque = is_opaque(dir.as_fd())?;
                known.get_or_insert_with(|| Below { what, dirs: Vec::new() }).dirs.push(dir);
                if opaque {
                    break;
                }
            }
        }
    }
    Ok(below)
}

pub(super) fn is_whiteout(what: &Statx) -> bool {
    kind_of(what) == FileType::CharacterDevice && what.stx_rdev_major == 0 && what.stx_rdev_minor == 0
}

fn is_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut value = [0; 4];
    match fs::fgetxattr(dir, c"trusted.overlay.opaque", value.as_mut_slice()) {
        Ok(len) => Ok(&value[..len] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(err) => Err(err),
    }
}

/// A directory that was renamed by a kernel which only notes the old name.
fn check_plain(dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
    match fs::fgetxattr(dir, c"trusted.overlay.redirect", [0; 0].as_mut_slice()) {
        Ok(0) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Ok(_) | Err(Errno::RANGE) => {
            Err(Error::unsupported(format!("{}: a directory that overlayfs has redirected", crate::error::show(path))))
        }
        Err(err) => Err(failed("getxattr", path)(err)),
    }
}

/// Mode, owner and kind, as far as they tell one file from another.
pub(super) fn same_head(a: &Statx, b: &Statx) -> bool {
    a.stx_mode == b.stx_mode && a.stx_uid == b.stx_uid && a.stx_gid == b.stx_gid
}
