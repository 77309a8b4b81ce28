//! Writes entries into a layer's folder. Nothing here ever leaves that folder:
//! a name is reduced to its plain components first, the folder that holds it
//! is opened with `openat2` and `RESOLVE_IN_ROOT` (links in it lead back into
//! the layer), and the last component is made, never followed.

use crate::{
    Error, MAX_DEPTH, MAX_DIRECTORY_NAMES, Result,
    error::show,
    metadata::{set_metadata, set_metadata_at, timestamps},
    tarread::{Entry, EntryKind},
};
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    rc::Rc,
};

pub(crate) const WHITEOUT: &[u8] = b".wh.";
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
const OVERLAY_OPAQUE: &CStr = c"trusted.overlay.opaque";
/// The time of what has no entry of its own: the same layer gives the same tree.
const NO_TIME: (i64, u32) = (0, 0);
/// Folders kept open: archives go through them in order.
const CACHED: usize = 128;

/// A layer's folder being filled.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories whose times are set when all is in them.
    times: Vec<(CString, (i64, u32))>,
    names: usize,
    /// Of `root` itself.
    depth: usize,
}

/// Where an entry goes: the open folder and the name in it. No name: the layer's root.
struct Place {
    dir: Rc<OwnedFd>,
    name: Option<CString>,
}

/// A name's components without `.`, empty ones and resolved `..`.
///
/// # Errors
/// [`Error::Hostile`] where it leaves the layer.
pub(crate) fn normalize(path: &[u8]) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(|| Error::Hostile(format!("{:?} is outside of the layer", show(path))))?;
            }
            _ => parts.push(part),
        }
    }
    if path.contains(&0) {
        return Err(Error::Hostile(format!("{:?} has a NUL in its name", show(path))));
    }
    Ok(parts.join(&b'/'))
}

pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn c(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Error::Hostile(format!("{:?} has a NUL in its name", show(name))))
}

fn is_whiteout(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Tree {
    /// Fills the folder `root`.
    pub fn new(root: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            fs::openat(CWD, root, flags, Mode::empty()).map_err(Error::host(format!("open {}", root.display())))?;
        fs::fchmod(&fd, Mode::from(0o755)).map_err(Error::host("set the mode of the layer's folder"))?;
        let depth = root.components().count();
        let times = vec![(CString::default(), NO_TIME)];
        Ok(Self { root: Rc::new(fd), open: HashMap::new(), times, names: 0, depth })
    }

    /// Makes everything but a file with data; `None` is the file to fill.
    /// `.wh.` names become overlay whiteouts.
    pub fn make(&mut self, entry: &Entry) -> Result<Option<OwnedFd>> {
        let path = normalize(&entry.path)?;
        let (parent, name) = split(&path);
        if name.starts_with(WHITEOUT) {
            self.whiteout(&path, parent, name)?;
            return Ok(None);
        }
        let place = self.place(&path)?;
        let Some(name) = &place.name else {
            if entry.kind != EntryKind::Directory {
                return Err(Error::Hostile(format!("{:?} would replace the layer's root", show(&entry.path))));
            }
            self.finish_dir(&self.root.clone(), &path, entry)?;
            return Ok(None);
        };
        let dir = place.dir.as_fd();
        let at = Error::entry(&path);
        match entry.kind {
            EntryKind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = self.fresh(&place, &path, || fs::openat(dir, name.as_c_str(), flags, Mode::from(0o600)))?;
                return Ok(Some(fd));
            }
            EntryKind::Directory => return self.directory(&place, &path, entry).map(|()| None),
            EntryKind::HardLink => {
                self.hard_link(&place, &path, entry)?;
                return Ok(None);
            }
            EntryKind::Symlink => {
                let link = c(&entry.link)?;
                self.fresh(&place, &path, || fs::symlinkat(link.as_c_str(), dir, name.as_c_str()))?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let (kind, device) = entry.node();
                self.fresh(&place, &path, || fs::mknodat(dir, name.as_c_str(), kind, Mode::from(0o600), device))?;
            }
        }
        set_metadata_at(dir, name, entry).map_err(at)?;
        Ok(None)
    }

    /// Sets what a file has besides its data, once that is written.
    pub fn finish_file(&self, file: &OwnedFd, entry: &Entry) -> Result<()> {
        set_metadata(file, entry).map_err(Error::entry(&entry.path))?;
        fs::futimens(file, &timestamps(entry.mtime)).map_err(Error::entry(&entry.path))
    }

    /// Sets the directories' times, the last word about each last, and makes all durable.
    pub fn finish(self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (path, mtime) in &self.times {
            let name = if path.is_empty() { c"." } else { path.as_c_str() };
            match fs::openat2(&self.root, name, flags, Mode::empty(), resolve()) {
                Ok(dir) => fs::futimens(&dir, &timestamps(*mtime)).map_err(Error::entry(path.to_bytes()))?,
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(err) => return Err(Error::entry(path.to_bytes())(err)),
            }
        }
        fs::syncfs(&self.root).map_err(Error::host("make the layer durable"))
    }

    fn place(&mut self, path: &[u8]) -> Result<Place> {
        let (parent, name) = split(path);
        let name = if name.is_empty() { None } else { Some(c(name)?) };
        Ok(Place { dir: self.folder(parent)?, name })
    }

    /// The open folder of this normalized name, made with its parents if absent.
    fn folder(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(found) = self.open.get(path) {
            return Ok(found.clone());
        }
        let fd = match self.open_dir(path) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folder(path)?,
            Err(err) => return Err(Error::entry(path)(err)),
        };
        self.check_depth(&fd, path)?;
        let fd = Rc::new(fd);
        if self.open.len() >= CACHED {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), fd.clone());
        Ok(fd)
    }

    /// A name's own depth says nothing: links in it may lead deeper.
    fn check_depth(&self, fd: &OwnedFd, path: &[u8]) -> Result<()> {
        let deep = || Error::Limit(format!("{:?} is nested deeper than {MAX_DEPTH} directories", show(path)));
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let real = fs::readlinkat(CWD, link, Vec::with_capacity(256)).map_err(|err| match err {
            Errno::NAMETOOLONG => deep(),
            err => Error::entry(path)(err),
        })?;
        let depth = real.to_bytes().iter().filter(|b| **b == b'/').count();
        if depth > self.depth + MAX_DEPTH { Err(deep()) } else { Ok(()) }
    }

    fn open_dir(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = CString::new(path).map_err(|_| Errno::INVAL)?;
        fs::openat2(&self.root, name.as_c_str(), flags, Mode::empty(), resolve())
    }

    /// Makes a folder that has no entry of its own. One that takes the place
    /// of a whiteout hides what is below, as the whiteout did.
    fn make_folder(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let (parent, name) = split(path);
        let dir = self.folder(parent)?;
        let name = c(name)?;
        let at = || Error::entry(path);
        let mut opaque = false;
        if let Ok(stat) = fs::statat(&dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
            && is_whiteout(&stat)
        {
            fs::unlinkat(&dir, name.as_c_str(), AtFlags::empty()).map_err(at())?;
            opaque = true;
        }
        match fs::mkdirat(&dir, name.as_c_str(), Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(at()(err)),
        }
        let fd = self.open_dir(path).map_err(at())?;
        if opaque {
            set_opaque(&fd).map_err(at())?;
        }
        self.remember(path, NO_TIME)?;
        Ok(fd)
    }

    /// Makes something new at `place`; what is there already is removed.
    fn fresh<T>(&mut self, place: &Place, path: &[u8], make: impl Fn() -> rustix::io::Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(Error::entry(path)),
        }
        self.remove(place, path)?;
        make().map_err(Error::entry(path))
    }

    fn remove(&mut self, place: &Place, path: &[u8]) -> Result<()> {
        let Some(name) = &place.name else { return Ok(()) };
        // Open folders may be in what goes.
        self.open.clear();
        match fs::unlinkat(&place.dir, name.as_c_str(), AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR) => {
                // std removes below an open folder without following links.
                let mut full = format!("/proc/self/fd/{}/", place.dir.as_raw_fd()).into_bytes();
                full.extend_from_slice(name.as_bytes());
                let full = <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(full);
                std::fs::remove_dir_all(full).map_err(Error::entry(path))
            }
            Err(err) => Err(Error::entry(path)(err)),
        }
    }

    fn directory(&mut self, place: &Place, path: &[u8], entry: &Entry) -> Result<()> {
        let Some(name) = &place.name else { return Ok(()) };
        let at = || Error::entry(path);
        let mut opaque = false;
        if fs::mkdirat(&place.dir, name.as_c_str(), Mode::from(0o700)) == Err(Errno::EXIST) {
            let stat = fs::statat(&place.dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(at())?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                opaque = is_whiteout(&stat);
                self.remove(place, path)?;
                fs::mkdirat(&place.dir, name.as_c_str(), Mode::from(0o700)).map_err(at())?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&place.dir, name.as_c_str(), flags, Mode::empty()).map_err(at())?;
        if opaque {
            set_opaque(&fd).map_err(at())?;
        }
        self.finish_dir(&fd, path, entry)
    }

    fn finish_dir(&mut self, fd: &OwnedFd, path: &[u8], entry: &Entry) -> Result<()> {
        set_metadata(fd, entry).map_err(Error::entry(path))?;
        self.remember(path, entry.mtime)
    }

    /// Keeps a directory's time until all is in it.
    fn remember(&mut self, path: &[u8], mtime: (i64, u32)) -> Result<()> {
        self.names += path.len() + size_of::<(CString, (i64, u32))>();
        if self.names > MAX_DIRECTORY_NAMES {
            return Err(Error::Limit(format!("directory names of more than {MAX_DIRECTORY_NAMES} bytes")));
        }
        self.times.push((c(path)?, mtime));
        Ok(())
    }

    fn hard_link(&mut self, place: &Place, path: &[u8], entry: &Entry) -> Result<()> {
        let Some(name) = &place.name else { return Ok(()) };
        let target = normalize(&entry.link)?;
        let from = self.place(&target)?;
        let Some(from_name) = from.name else {
            return Err(Error::Hostile(format!("hard link {:?} to the layer's root", show(path))));
        };
        if target == path {
            return Ok(());
        }
        let link = || fs::linkat(&from.dir, from_name.as_c_str(), &place.dir, name.as_c_str(), AtFlags::empty());
        match self.fresh(place, path, link) {
            Err(Error::Entry { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Err(Error::Malformed(
                format!("hard link {:?} to {:?}, which is not in the layer", show(path), show(&entry.link)),
            )),
            other => other,
        }
    }

    fn whiteout(&mut self, path: &[u8], parent: &[u8], name: &[u8]) -> Result<()> {
        if name == OPAQUE {
            let dir = self.folder(parent)?;
            return set_opaque(&dir).map_err(Error::entry(path));
        }
        let hidden = &name[WHITEOUT.len()..];
        if hidden.starts_with(WHITEOUT) {
            // AUFS's own files; nothing to a reader.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::Hostile(format!("whiteout {:?} hides no name", show(path))));
        }
        let dir = self.folder(parent)?;
        let hidden = c(hidden)?;
        // A whiteout hides what is below, not what this layer itself brings.
        match fs::statat(&dir, hidden.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                fs::mknodat(&dir, hidden.as_c_str(), FileType::CharacterDevice, Mode::empty(), fs::makedev(0, 0))
                    .and_then(|()| {
                        fs::utimensat(&dir, hidden.as_c_str(), &timestamps(NO_TIME), AtFlags::SYMLINK_NOFOLLOW)
                    })
                    .map_err(Error::entry(path))
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = fs::openat(&dir, hidden.as_c_str(), flags, Mode::empty()).map_err(Error::entry(path))?;
                set_opaque(&fd).map_err(Error::entry(path))
            }
            Ok(_) => Ok(()),
            Err(err) => Err(Error::entry(path)(err)),
        }
    }
}

pub(crate) fn resolve() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
}

fn set_opaque(dir: impl AsFd) -> rustix::io::Result<()> {
    fs::fsetxattr(dir, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
}
