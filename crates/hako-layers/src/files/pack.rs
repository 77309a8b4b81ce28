//! From a tree to a tar, as a stream: `docker cp` out of a container, and
//! `docker export`.

use super::{
    MAX_DEPTH, attributes, failed, failed_io,
    names::{base_name, join},
    root::{Root, kind_of, reopen, stat_of},
    stat::{self, FileStat, is_pseudo, too_deep},
};
use crate::{
    pax::Stretch,
    tarread::EntryKind,
    tarwrite::{Head, TarWriter},
};
use hako_model::{Error, Result};
use rustix::{
    fs::{self, Dir, FileType, Mode, OFlags, SeekFrom, Statx},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::CString,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

/// How much of a file is read at once.
const CHUNK: usize = 128 << 10;
/// Names of a directory are sorted up to this many bytes, half of it every
/// second level down, and never less than the other; a larger directory is
/// sorted in parts.
const SORTED: usize = 1 << 20;
const SORTED_LEAST: usize = 16 << 10;
/// Names of files with several links are remembered up to this many bytes;
/// later ones are written out as files of their own.
const LINKS: usize = 8 << 20;
/// Holes that together have less are written as zeros, which every reader of a
/// tar understands.
const LEAST_HOLES: u64 = 8 << 20;
/// Beyond this many stretches the rest of a file is one.
const STRETCHES: usize = 65_536;

/// What `docker cp` takes out of a container.
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    path: Vec<u8>,
    what: Statx,
    /// What is told of it.
    pub stat: FileStat,
}

impl Source {
    /// Finds what lies at `path`.
    ///
    /// # Errors
    /// As [`super::stat`].
    pub fn find(root: &Root, path: &[u8]) -> Result<Self> {
        let (fd, stat, what) = stat::open(root, path)?;
        Ok(Self { fd, path: path.to_vec(), what, stat })
    }

    /// Writes the tar: its first entry has the path's last component as its
    /// name, the others are below that.
    ///
    /// # Errors
    /// The kernel's, and the writer's.
    pub fn pack(self, out: impl Write) -> Result<()> {
        self.write(Packer::new(out))
    }

    /// [`Source::pack`] of those whose names in the archive are wanted. What is
    /// below a directory is asked for by itself.
    ///
    /// # Errors
    /// As [`Source::pack`].
    pub(super) fn pack_wanted(self, out: impl Write, wanted: &dyn Fn(&[u8]) -> bool) -> Result<()> {
        self.write(Packer { wanted: Some(wanted), ..Packer::new(out) })
    }

    /// [`Source::pack`] without times: the same for the same names, contents,
    /// modes, owners and attributes.
    ///
    /// # Errors
    /// As [`Source::pack`].
    pub fn pack_timeless(self, out: impl Write) -> Result<()> {
        self.write(Packer { timeless: true, ..Packer::new(out) })
    }

    fn write(self, mut packer: Packer<'_, impl Write>) -> Result<()> {
        let base = base_name(&self.path);
        if kind_of(&self.what) == FileType::Directory {
            let name = if base == b"/" { b"/".to_vec() } else { [base, b"/"].concat() };
            packer.directory(self.fd.as_fd(), &self.what, &name)?;
            if !is_pseudo(&self.fd).map_err(failed("statfs", &self.path))? {
                let dir = list(self.fd.as_fd()).map_err(failed("open", &self.path))?;
                packer.tree(dir, &name, &self.path, &self.what, true)?;
            }
        } else {
            packer.other(self.fd.as_fd(), &self.what, base)?;
        }
        packer.finish()
    }
}

/// Writes a tar of all that is below `root`, without what is mounted there.
///
/// # Errors
/// As [`Source::pack`].
pub fn export(root: &Root, out: impl Write) -> Result<()> {
    let what = stat_of(root.fd()).map_err(failed("lstat", b"/"))?;
    let dir = list(root.fd()).map_err(failed("open", b"/"))?;
    let mut packer = Packer::new(out);
    packer.tree(dir, b"", b"/", &what, false)?;
    packer.finish()
}

/// Opens the directory that `fd` is for, so that its names can be read.
pub(super) fn list(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(fd, c".", flags, Mode::empty())
}

/// The names in a directory, sorted as far as memory allows.
pub(super) struct Names {
    dir: Dir,
    sorted: Vec<CString>,
    most: usize,
    ended: bool,
}

impl Names {
    /// The names in `dir`, which is `depth` directories down.
    pub(super) fn new(dir: OwnedFd, depth: usize) -> rustix::io::Result<Self> {
        let most = SORTED.checked_shr(u32::try_from(depth / 2).unwrap_or(u32::MAX)).unwrap_or(0).max(SORTED_LEAST);
        Ok(Self { dir: Dir::new(dir)?, sorted: Vec::new(), most, ended: false })
    }

    /// The directory itself.
    pub(super) fn fd(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.dir.fd()
    }

    pub(super) fn next(&mut self) -> rustix::io::Result<Option<CString>> {
        if self.sorted.is_empty() && !self.ended {
            self.fill()?;
        }
        Ok(self.sorted.pop())
    }

    fn fill(&mut self) -> rustix::io::Result<()> {
        let mut bytes = 0;
        while bytes < self.most {
            let Some(entry) = self.dir.read() else {
                self.ended = true;
                break;
            };
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                bytes += name.to_bytes().len() + size_of::<CString>();
                self.sorted.push(name.to_owned());
            }
        }
        // Taken from the end.
        self.sorted.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }
}

/// Whether the entry of this name is packed.
type Wanted<'a> = &'a dyn Fn(&[u8]) -> bool;

/// A directory on the way down.
struct Level {
    names: Names,
    /// Its name in the archive, with a slash, or nothing.
    name: Vec<u8>,
    /// Its path in the container.
    path: Vec<u8>,
    mount: u64,
}

/// Writes entries, and remembers files with several links.
pub(super) struct Packer<'a, W> {
    tar: TarWriter<W>,
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    link_bytes: usize,
    buffer: Vec<u8>,
    /// Every time is written as 0.
    timeless: bool,
    /// Names that are written; without it all are.
    wanted: Option<Wanted<'a>>,
}

impl<W: Write> Packer<'_, W> {
    pub(super) fn new(out: W) -> Self {
        let tar = TarWriter::new(out);
        Self { tar, links: HashMap::new(), link_bytes: 0, buffer: vec![0; CHUNK], timeless: false, wanted: None }
    }

    fn head<'a>(&self, what: &Statx, name: &'a [u8]) -> Head<'a> {
        let head = head(what, name);
        if self.timeless { Head { mtime: 0, ..head } } else { head }
    }

    fn is_wanted(&self, name: &[u8]) -> bool {
        self.wanted.is_none_or(|wanted| wanted(name))
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<()> {
        self.tar.finish().and_then(|mut out| out.flush()).map_err(gone)
    }

    /// All that is below `dir`, which has the name `name` in the archive.
    fn tree(&mut self, dir: OwnedFd, name: &[u8], path: &[u8], what: &Statx, mounts: bool) -> Result<()> {
        let names = Names::new(dir, 0).map_err(failed("open", path))?;
        let mut levels =
            vec![Level { names, name: name.to_vec(), path: super::names::absolute(path), mount: what.stx_mnt_id }];
        while let Some(level) = levels.last_mut() {
            let Some(child) = level.names.next().map_err(failed("readdirent", &level.path))? else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, child.to_bytes());
            let dir = level.names.fd().map_err(failed("open", &path))?;
            let Some((fd, what)) = look(dir, &child).map_err(failed("lstat", &path))? else { continue };
            let mut name = [level.name.as_slice(), child.to_bytes()].concat();
            if kind_of(&what) != FileType::Directory {
                self.other(fd.as_fd(), &what, &name)?;
                continue;
            }
            name.push(b'/');
            self.directory(fd.as_fd(), &what, &name)?;
            let mounted = what.stx_mnt_id != level.mount;
            if mounted && (!mounts || path == b"/dev" || is_pseudo(&fd).map_err(failed("statfs", &path))?) {
                continue;
            }
            if levels.len() >= MAX_DEPTH {
                return Err(too_deep(&path));
            }
            let below = match list(fd.as_fd()) {
                Ok(below) => below,
                Err(Errno::NOENT) => continue,
                Err(err) => return Err(failed("open", &path)(err)),
            };
            let names = Names::new(below, levels.len()).map_err(failed("open", &path))?;
            levels.push(Level { names, name, path, mount: what.stx_mnt_id });
        }
        Ok(())
    }

    /// A directory's own entry.
    pub(super) fn directory(&mut self, fd: BorrowedFd<'_>, what: &Statx, name: &[u8]) -> Result<()> {
        if !self.is_wanted(name) {
            return Ok(());
        }
        let xattrs = attributes::read(fd).map_err(failed("listxattr", name))?;
        let head = Head { kind: Some(EntryKind::Directory), xattrs: &xattrs, ..self.head(what, name) };
        self.tar.entry(&head).map_err(gone)
    }

    /// Anything but a directory. Sockets are left out: a tar has none.
    pub(super) fn other(&mut self, fd: BorrowedFd<'_>, what: &Statx, name: &[u8]) -> Result<()> {
        let kind = match kind_of(what) {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Directory | FileType::Socket | FileType::Unknown => return Ok(()),
        };
        // Before its links are looked at: a link leads to what is in the archive.
        if !self.is_wanted(name) {
            return Ok(());
        }
        if let Some(first) = self.linked(what, name) {
            let head = Head { kind: Some(EntryKind::HardLink), link: &first, ..self.head(what, name) };
            return self.tar.entry(&head).map_err(gone);
        }
        match kind {
            EntryKind::File => self.file(fd, what, name),
            EntryKind::Symlink => {
                let target = fs::readlinkat(fd, c"", Vec::new()).map_err(failed("readlink", name))?;
                let head = Head { kind: Some(kind), link: target.to_bytes(), mode: 0o777, ..self.head(what, name) };
                self.tar.entry(&head).map_err(gone)
            }
            _ => {
                let device = match kind {
                    EntryKind::Fifo => (0, 0),
                    _ => (what.stx_rdev_major, what.stx_rdev_minor),
                };
                self.tar.entry(&Head { kind: Some(kind), device, ..self.head(what, name) }).map_err(gone)
            }
        }
    }

    /// An empty file that means something to whoever reads a layer.
    pub(super) fn marker(&mut self, name: &[u8]) -> Result<()> {
        self.tar.entry(&Head { path: name, mode: 0o600, ..Head::default() }).map_err(gone)
    }

    /// The name under which the same file is in the archive already.
    fn linked(&mut self, what: &Statx, name: &[u8]) -> Option<Vec<u8>> {
        if what.stx_nlink < 2 {
            return None;
        }
        let key = (what.stx_dev_major, what.stx_dev_minor, what.stx_ino);
        if let Some(first) = self.links.get(&key) {
            return Some(first.clone());
        }
        let cost = name.len() + 64;
        if self.link_bytes + cost <= LINKS {
            self.link_bytes += cost;
            self.links.insert(key, name.to_vec());
        }
        None
    }

    fn file(&mut self, fd: BorrowedFd<'_>, what: &Statx, name: &[u8]) -> Result<()> {
        let xattrs = attributes::read(fd).map_err(failed("listxattr", name))?;
        let file = std::fs::File::from(reopen(fd, OFlags::RDONLY).map_err(failed("open", name))?);
        let map = stretches(&file, what).map_err(failed("seek", name))?;
        let head = Head { size: what.stx_size, xattrs: &xattrs, map: map.as_deref(), ..self.head(what, name) };
        self.tar.entry(&head).map_err(gone)?;
        let whole = [Stretch { offset: 0, len: what.stx_size }];
        for stretch in map.as_deref().unwrap_or(&whole) {
            self.stretch(&file, *stretch, name)?;
        }
        Ok(())
    }

    fn stretch(&mut self, file: &std::fs::File, stretch: Stretch, name: &[u8]) -> Result<()> {
        let (mut at, end) = (stretch.offset, stretch.offset + stretch.len);
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
            let n = match file.read_at(&mut self.buffer[..most], at) {
                Ok(0) => {
                    // It has become shorter since its size was told: the rest is zeros.
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(n) => n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(failed_io("read", name)(err)),
            };
            self.tar.data(&self.buffer[..n]).map_err(gone)?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Opens a name in a directory without touching what it names; `None` where it has gone.
pub(super) fn look(dir: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<Option<(OwnedFd, Statx)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(dir, name.as_c_str(), flags, Mode::empty()) {
        Ok(fd) => stat_of(&fd).map(|stat| Some((fd, stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

fn head<'a>(what: &Statx, name: &'a [u8]) -> Head<'a> {
    Head {
        path: name,
        mode: u32::from(what.stx_mode) & 0o7777,
        uid: what.stx_uid,
        gid: what.stx_gid,
        // Whole seconds, as Docker has them.
        mtime: what.stx_mtime.tv_sec,
        ..Head::default()
    }
}

/// Where a file has data; `None` where its holes are not worth a map.
fn stretches(file: &std::fs::File, what: &Statx) -> rustix::io::Result<Option<Vec<Stretch>>> {
    let size = what.stx_size;
    if what.stx_blocks.saturating_mul(512).saturating_add(LEAST_HOLES) > size {
        return Ok(None);
    }
    let (mut map, mut data, mut at) = (Vec::new(), 0, 0);
    while at < size {
        let offset = match fs::seek(file, SeekFrom::Data(at)) {
            Ok(offset) if offset < size => offset,
            Ok(_) | Err(Errno::NXIO) => break,
            // A filesystem that knows no holes.
            Err(Errno::INVAL) => return Ok(None),
            Err(err) => return Err(err),
        };
        let end = if map.len() < STRETCHES { fs::seek(file, SeekFrom::Hole(offset))?.min(size) } else { size };
        if end <= offset {
            break;
        }
        map.push(Stretch { offset, len: end - offset });
        data += end - offset;
        at = end;
    }
    if size - data < LEAST_HOLES {
        return Ok(None);
    }
    if map.last().is_none_or(|last| last.offset + last.len < size) {
        // As GNU tar ends a map whose file ends with a hole.
        map.push(Stretch { offset: size, len: 0 });
    }
    Ok(Some(map))
}

/// Whoever reads the archive has gone, most likely.
fn gone(err: io::Error) -> Error {
    Error::new(hako_model::ErrorKind::Unavailable, format!("write archive: {err}"))
}
