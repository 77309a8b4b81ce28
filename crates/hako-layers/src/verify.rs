//! Whether a tree is what its archive says: every name, kind, mode, owner,
//! size and byte. Nothing is written.

use crate::{
    Result,
    decompress::{CHUNK, decompress},
    error::show,
    tarread::{Entry, EntryKind, TarReader},
    tree::{OPAQUE, WHITEOUT, normalize, resolve, split},
};
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{BufReader, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

/// Holds the tree `dir` against the archive that it was unpacked from; the
/// answer is what differs. An entry that a later one replaces does not count.
/// Memory grows with what differs alone.
///
/// # Errors
/// The archive's faults and the host's.
pub fn verify(archive: impl Read + Send, dir: &Path) -> Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        fs::openat(CWD, dir, flags, Mode::empty()).map_err(crate::Error::host(format!("open {}", dir.display())))?;
    let (_, plain) = decompress(archive)?;
    let mut tar = TarReader::new(BufReader::with_capacity(CHUNK, plain));
    let mut wrong: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    while let Some(entry) = tar.next_entry()? {
        let path = normalize(&entry.path)?;
        let differs = compare(&root, &path, &entry, &mut tar)?;
        if entry.kind != EntryKind::Directory {
            // What was below it has been replaced.
            let below = [path.as_slice(), b"/"].concat();
            wrong.retain(|name, _| !name.starts_with(&below));
        }
        match differs {
            Some(why) => wrong.insert(path, why),
            None => wrong.remove(&path),
        };
    }
    Ok(wrong.into_iter().map(|(path, why)| format!("{}: {why}", show(&path))).collect())
}

/// What differs of one entry, if anything.
fn compare(
    root: &OwnedFd,
    path: &[u8],
    entry: &Entry,
    tar: &mut TarReader<impl std::io::BufRead>,
) -> Result<Option<String>> {
    let (parent, name) = split(path);
    let missing = || Ok(Some("it is missing".to_owned()));
    let Some(dir) = open(root, parent, OFlags::DIRECTORY)? else { return missing() };
    if name.starts_with(WHITEOUT) {
        return whiteout(&dir, name);
    }
    let name = if name.is_empty() { c".".to_owned() } else { c_string(name)? };
    let stat = match fs::statat(&dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return missing(),
        Err(err) => return Err(crate::Error::entry(path)(err)),
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let expected = match entry.kind {
        // The other name has been held against its own entry.
        EntryKind::HardLink => return Ok(None),
        EntryKind::File => FileType::RegularFile,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Directory => FileType::Directory,
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::Fifo => FileType::Fifo,
    };
    if kind != expected {
        return Ok(Some(format!("it is a {kind:?} and should be a {expected:?}")));
    }
    if (u64::from(stat.st_uid), u64::from(stat.st_gid)) != (entry.uid, entry.gid) {
        return Ok(Some(format!("its owner is {}:{}, not {}:{}", stat.st_uid, stat.st_gid, entry.uid, entry.gid)));
    }
    if entry.kind != EntryKind::Symlink && stat.st_mode & 0o7777 != entry.mode {
        return Ok(Some(format!("its mode is {:o}, not {:o}", stat.st_mode & 0o7777, entry.mode)));
    }
    match entry.kind {
        EntryKind::File => content(&dir, &name, path, entry, tar),
        EntryKind::Symlink => {
            let target = fs::readlinkat(&dir, name.as_c_str(), Vec::new()).map_err(crate::Error::entry(path))?;
            Ok((target.to_bytes() != entry.link).then(|| "it leads elsewhere".to_owned()))
        }
        _ => Ok(None),
    }
}

/// Reads both at once.
fn content(
    dir: &OwnedFd,
    name: &CString,
    path: &[u8],
    entry: &Entry,
    tar: &mut TarReader<impl std::io::BufRead>,
) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(dir, name.as_c_str(), flags, Mode::empty()).map_err(crate::Error::entry(path))?;
    let file = File::from(file);
    let size = file.metadata().map_err(crate::Error::entry(path))?.len();
    if size != entry.size {
        return Ok(Some(format!("it has {size} bytes, not {}", entry.size)));
    }
    let whole = [crate::pax::Stretch { offset: 0, len: tar.data_left() }];
    let mut buffer = vec![0; 64 << 10];
    let mut same = true;
    for stretch in entry.map.as_deref().unwrap_or(&whole) {
        let mut at = stretch.offset;
        tar.data(stretch.len, &mut |piece| {
            for part in piece.chunks(64 << 10) {
                let own = &mut buffer[..part.len()];
                file.read_exact_at(own, at).map_err(crate::Error::entry(path))?;
                same &= own == part;
                at += part.len() as u64;
            }
            Ok(())
        })?;
    }
    Ok((!same).then(|| "its content differs".to_owned()))
}

fn whiteout(dir: &OwnedFd, name: &[u8]) -> Result<Option<String>> {
    let hidden = &name[WHITEOUT.len()..];
    if name == OPAQUE || hidden.starts_with(WHITEOUT) || hidden.is_empty() {
        return Ok(None);
    }
    Ok(match fs::statat(dir, c_string(hidden)?.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        // Or what the layer itself has brought in its place.
        Ok(_) => None,
        Err(_) => Some("the whiteout is missing".to_owned()),
    })
}

fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>> {
    let path = if path.is_empty() { c".".to_owned() } else { c_string(path)? };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    match fs::openat2(root, path.as_c_str(), flags, Mode::empty(), resolve()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(err) => Err(crate::Error::entry(path.to_bytes())(err)),
    }
}

fn c_string(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| crate::Error::Hostile(format!("{:?} has a NUL in its name", show(name))))
}
