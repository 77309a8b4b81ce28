//! From a tar to a directory of a container: `docker cp` into it. What a name
//! means is decided in the container's root, so that links of the container are
//! followed as its own processes would, and never out of it.

use super::{
    MAX_DEPTH, attributes, failed, failed_io,
    names::{absolute, join, split},
    pack::{Names, list},
    root::{Root, kind_of, stat_of},
    stat::{is_pseudo, too_deep},
};
use crate::{
    error::show,
    tarread::{Entry, EntryKind, TarReader},
};
use hako_model::{Error, Result};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{BufRead, Seek, SeekFrom, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Times of directories are kept up to this many bytes.
const TIMES: usize = 8 << 20;

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extract {
    /// A directory is not replaced by something else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Who owns everything; without it the archive says.
    pub owner: Option<(u32, u32)>,
}

/// The directory that an archive is unpacked into.
#[derive(Debug)]
pub struct Destination<'a> {
    root: &'a Root,
    path: Vec<u8>,
    /// Directories whose times are set when all is in them.
    times: Vec<(Vec<u8>, (i64, u32))>,
    names: usize,
    /// The directory of the entry before.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Where an entry goes.
struct Place {
    dir: OwnedFd,
    name: Vec<u8>,
    /// Absolute in the container.
    path: Vec<u8>,
}

impl<'a> Destination<'a> {
    /// Finds the directory `path`, links followed, and checks that it takes files.
    ///
    /// # Errors
    /// `NotFound`; Docker's words where it is no directory, or read-only.
    pub fn find(root: &'a Root, path: &[u8]) -> Result<Self> {
        let fd = root.find(path, OFlags::empty()).map_err(failed("lstat", path))?;
        let what = stat_of(&fd).map_err(failed("lstat", path))?;
        if kind_of(&what) != FileType::Directory {
            return Err(Error::invalid("extraction point is not a directory"));
        }
        if is_pseudo(&fd).map_err(failed("statfs", path))? {
            return Err(failed("lstat", path)(Errno::NOENT));
        }
        let flags = fs::fstatvfs(&fd).map_err(failed("statfs", path))?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            let top = stat_of(root.fd()).map_err(failed("lstat", b"/"))?;
            return Err(Error::invalid(if top.stx_mnt_id == what.stx_mnt_id {
                "container rootfs is marked read-only"
            } else {
                "mounted volume is marked read-only"
            }));
        }
        Ok(Self { root, path: path.to_vec(), times: Vec::new(), names: 0, last: None })
    }

    /// Unpacks `tar`, which is not compressed.
    ///
    /// # Errors
    /// The archive's faults, Docker's words for what may not be replaced, and
    /// the kernel's answers; what was unpacked before stays.
    pub fn unpack(self, tar: impl BufRead, how: Extract) -> Result<()> {
        self.unpack_as(tar, how, &mut |_| Ok(true))
    }

    /// [`Destination::unpack`] of what `choose` wants; it may change an entry's
    /// names, mode and owner before it is made.
    ///
    /// # Errors
    /// As [`Destination::unpack`], and what `choose` says.
    pub fn unpack_as(
        mut self,
        tar: impl BufRead,
        how: Extract,
        choose: &mut dyn FnMut(&mut Entry) -> Result<bool>,
    ) -> Result<()> {
        let mut tar = TarReader::new(tar);
        while let Some(mut entry) = tar.next_entry()? {
            if !choose(&mut entry)? {
                continue;
            }
            if let Some((uid, gid)) = how.owner {
                (entry.uid, entry.gid) = (uid.into(), gid.into());
            }
            let Some(place) = self.place(&entry)? else { continue };
            if self.make_room(&place, &entry, how)? {
                self.put(&place, &entry, &mut tar)?;
            }
        }
        self.set_times()
    }

    /// The place of an entry; `None` for the directory itself, which stays as it is.
    fn place(&mut self, entry: &Entry) -> Result<Option<Place>> {
        let path = below(&self.path, &entry.path)?;
        if path == absolute(&self.path) {
            if entry.kind == EntryKind::Directory {
                return Ok(None);
            }
            return Err(Error::internal(format!(
                "cannot overwrite directory {:?} with non-directory {:?}",
                show(&path),
                show(&self.path)
            )));
        }
        let (parent, name) = split(&path);
        let (dir, name) = (self.folder(parent)?, name.to_vec());
        Ok(Some(Place { dir, name, path }))
    }

    /// The directory `path`, made if absent.
    fn folder(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(failed_io("open", path));
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return copy(fd);
        }
        let fd = match self.root.find_dir(path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => self.root.make_dirs(path)?,
            Err(err) => return Err(failed("open", path)(err)),
        };
        let kept = copy(&fd)?;
        self.last = Some((path.to_vec(), fd));
        Ok(kept)
    }

    /// Removes what is in the way; false where a directory is there already.
    fn make_room(&mut self, place: &Place, entry: &Entry, how: Extract) -> Result<bool> {
        let there = match fs::statat(&place.dir, place.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => return Ok(true),
            Err(err) => return Err(failed("lstat", &place.path)(err)),
        };
        let wanted = entry.kind == EntryKind::Directory;
        if how.no_overwrite_dir_non_dir && there != wanted {
            let (old, new) = if there { ("directory", "non-directory") } else { ("non-directory", "directory") };
            let (path, dest) = (show(&place.path), show(&self.path));
            return Err(Error::internal(format!("cannot overwrite {old} {path:?} with {new} {dest:?}")));
        }
        if !(there && wanted) {
            // What goes may be what is open.
            self.last = None;
            remove(place.dir.as_fd(), &place.name, &place.path, 0)?;
        }
        Ok(true)
    }

    fn put(&mut self, place: &Place, entry: &Entry, tar: &mut TarReader<impl BufRead>) -> Result<()> {
        let (dir, name) = (place.dir.as_fd(), place.name.as_slice());
        let at = |op| failed(op, &place.path);
        match entry.kind {
            EntryKind::File => return write_file(place, entry, tar),
            EntryKind::Directory => {
                match fs::mkdirat(dir, name, Mode::from(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(err) => return Err(at("mkdir")(err)),
                }
                self.remember(&place.path, entry.mtime)?;
            }
            EntryKind::HardLink => return self.hard_link(place, entry),
            EntryKind::Symlink => fs::symlinkat(entry.link.as_slice(), dir, name).map_err(at("symlink"))?,
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let (kind, device) = entry.node();
                fs::mknodat(dir, name, kind, Mode::from(0o600), device).map_err(at("mknod"))?;
            }
        }
        // By the file itself: its name may lead elsewhere by now.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(dir, name, flags, Mode::empty()).map_err(at("open"))?;
        let what = stat_of(&fd).map_err(at("lstat"))?;
        if !same_kind(entry.kind, kind_of(&what)) {
            return Err(at("chown")(Errno::NOENT));
        }
        attributes::write(fd.as_fd(), entry, entry.kind == EntryKind::Symlink).map_err(at("chown"))
    }

    fn hard_link(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let target = below(&self.path, &entry.link)?;
        if target == place.path {
            return Ok(());
        }
        let (parent, name) = split(&target);
        let from = self.root.find_dir(parent).map_err(failed("link", &target))?;
        fs::linkat(&from, name, &place.dir, place.name.as_slice(), AtFlags::empty()).map_err(failed("link", &target))
    }

    /// Keeps a directory's time until all is in it, as archives have it: where
    /// there are very many, until the next of them.
    fn remember(&mut self, path: &[u8], mtime: (i64, u32)) -> Result<()> {
        self.names += path.len() + size_of::<(Vec<u8>, (i64, u32))>();
        if self.names > TIMES {
            self.set_times()?;
        }
        self.times.push((path.to_vec(), mtime));
        Ok(())
    }

    fn set_times(&mut self) -> Result<()> {
        self.names = 0;
        for (path, mtime) in std::mem::take(&mut self.times).iter().rev() {
            match self.root.find(path, OFlags::NOFOLLOW | OFlags::DIRECTORY) {
                Ok(fd) => attributes::set_times(fd.as_fd(), *mtime).map_err(failed("chtimes", path))?,
                // Replaced by a later entry, or by the container.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(err) => return Err(failed("chtimes", path)(err)),
            }
        }
        Ok(())
    }
}

/// The path of a name in the archive. `..` may not lead above `dest`.
fn below(dest: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let dest = absolute(dest);
    let plain = if name.starts_with(b"/") { absolute(name) } else { name.to_vec() };
    let path = absolute(&join(&dest, plain.strip_prefix(b"/").unwrap_or(&plain)));
    let inside =
        dest == b"/" || path == dest || path.strip_prefix(dest.as_slice()).is_some_and(|p| p.starts_with(b"/"));
    if name.contains(&0) || !inside {
        return Err(Error::invalid(format!("{:?} is outside of {:?}", show(name), show(&dest))));
    }
    Ok(path)
}

fn same_kind(wanted: EntryKind, found: FileType) -> bool {
    match wanted {
        EntryKind::File | EntryKind::HardLink => found == FileType::RegularFile,
        EntryKind::Symlink => found == FileType::Symlink,
        EntryKind::CharDevice => found == FileType::CharacterDevice,
        EntryKind::BlockDevice => found == FileType::BlockDevice,
        EntryKind::Directory => found == FileType::Directory,
        EntryKind::Fifo => found == FileType::Fifo,
    }
}

fn write_file(place: &Place, entry: &Entry, tar: &mut TarReader<impl BufRead>) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(&place.dir, place.name.as_slice(), flags, Mode::from(0o600));
    let mut file = File::from(fd.map_err(failed("open", &place.path))?);
    let failure =
        |err: std::io::Error| crate::Error::Host { what: format!("write {}", show(&place.path)), source: err };
    match &entry.map {
        None => tar.data(tar.data_left(), &mut |piece| file.write_all(piece).map_err(failure))?,
        Some(map) => {
            for stretch in map {
                file.seek(SeekFrom::Start(stretch.offset)).map_err(failure)?;
                tar.data(stretch.len, &mut |piece| file.write_all(piece).map_err(failure))?;
            }
            file.set_len(entry.size).map_err(failure)?;
        }
    }
    attributes::write(file.as_fd(), entry, false).map_err(failed("chown", &place.path))
}

/// Removes a name with all below it; nothing that is mounted there is entered.
fn remove(dir: BorrowedFd<'_>, name: &[u8], path: &[u8], depth: usize) -> Result<()> {
    let at = || failed("unlinkat", path);
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(err) => return Err(at()(err)),
    }
    if depth >= MAX_DEPTH {
        return Err(too_deep(path));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let below = match fs::openat2(dir, name, flags, Mode::empty(), resolve) {
        Ok(below) => below,
        // As the kernel calls what is mounted on.
        Err(Errno::XDEV) => return Err(at()(Errno::BUSY)),
        Err(err) => return Err(at()(err)),
    };
    let mut names = Names::new(list(below.as_fd()).map_err(at())?, depth).map_err(at())?;
    while let Some(child) = names.next().map_err(at())? {
        remove(below.as_fd(), child.to_bytes(), &join(path, child.to_bytes()), depth + 1)?;
    }
    match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(at()(err)),
    }
}
