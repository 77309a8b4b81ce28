//! A folder as a context's archive: as Docker packs it, all files root's, hard
//! links as such, sockets left out.

use super::context::Failure;
use crate::api::{Body, written};
use crate::error::{Error, Result, reason};
use hako_dockerfile::ignore::Patterns;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// How much is sent at once.
const PIECE: usize = 256 << 10;
/// A block of an archive.
const BLOCK: u64 = 512;

/// A file of the folder.
pub(super) struct Entry {
    /// Its name, relative.
    name: PathBuf,
    meta: Metadata,
}

/// A file that is in no folder.
pub(super) struct Extra {
    pub name: String,
    pub content: Vec<u8>,
}

/// The files that `left_out` does not match, each folder before what is in it.
///
/// # Errors
/// One that cannot be read: nothing is sent then.
pub(super) fn walk(folder: &Path, left_out: &Patterns) -> Result<Vec<Entry>> {
    let wrong = |path: &Path, err: &io::Error| {
        Error::msg(match err.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("error checking context: no permission to read from '{}'", path.display())
            }
            _ => format!("error checking context: {}: {}", path.display(), reason(err)),
        })
    };
    let mut entries = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(name) = open.pop() {
        let path = folder.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(|err| wrong(&path, &err))?;
        let text = name.to_string_lossy();
        let out = left_out.matches(&text);
        if out && (!meta.is_dir() || left_out.prunes(&text)) {
            continue;
        }
        if meta.is_dir() {
            let below = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let mut below: Vec<PathBuf> =
                below.map_err(|err| wrong(&path, &err))?.iter().map(|entry| name.join(entry.file_name())).collect();
            // The last is taken first.
            below.sort_unstable_by(|a, b| b.cmp(a));
            open.extend(below);
        } else if meta.is_file() {
            File::open(&path).map_err(|err| wrong(&path, &err))?;
        }
        if !out && !meta.file_type().is_socket() && !name.as_os_str().is_empty() {
            entries.push(Entry { name, meta });
        }
    }
    Ok(entries)
}

/// Whether a file of another content goes in its place.
fn is_replaced(entry: &Entry, extra: &[Extra]) -> bool {
    extra.iter().any(|extra| Path::new(&extra.name) == entry.name)
}

/// About how many bytes the archive has.
pub(super) fn size(entries: &[Entry], extra: &[Extra]) -> i64 {
    let whole = |size: u64| BLOCK + size.div_ceil(BLOCK) * BLOCK;
    let sent = entries.iter().filter(|entry| !is_replaced(entry, extra));
    let of_entries = sent.map(|entry| whole(if entry.meta.is_file() { entry.meta.len() } else { 0 }));
    let of_extra = extra.iter().map(|extra| whole(extra.content.len() as u64));
    let sum = of_entries.chain(of_extra).fold(2 * BLOCK, u64::saturating_add);
    i64::try_from(sum).unwrap_or(i64::MAX)
}

/// A request's body with the archive.
pub(super) fn send(folder: PathBuf, entries: Vec<Entry>, extra: Vec<Extra>, failure: Failure) -> Body {
    written(PIECE, move |sink| {
        let mut archive = tar::Builder::new(sink);
        write(&mut archive, &folder, &entries, &extra).inspect_err(|err| {
            // An engine that has hung up says why itself.
            if err.kind() != io::ErrorKind::BrokenPipe {
                failure.set(reason(err));
            }
        })
    })
}

type Archive<W> = tar::Builder<W>;

fn write<W: Write>(archive: &mut Archive<W>, folder: &Path, entries: &[Entry], extra: &[Extra]) -> io::Result<()> {
    let mut links: HashMap<(u64, u64), &Path> = HashMap::new();
    for entry in entries.iter().filter(|entry| !is_replaced(entry, extra)) {
        let path = folder.join(&entry.name);
        append(archive, &path, entry, &mut links)
            .map_err(|err| io::Error::new(err.kind(), format!("{}: {}", path.display(), reason(&err))))?;
    }
    for extra in extra {
        let mut header = roots();
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_size(extra.content.len() as u64);
        archive.append_data(&mut header, &extra.name, extra.content.as_slice())?;
    }
    archive.finish()?;
    archive.get_mut().flush()
}

/// A file of a context is root's, whoever sends it.
fn roots() -> Header {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<'a, W: Write>(
    archive: &mut Archive<W>,
    path: &Path,
    entry: &'a Entry,
    links: &mut HashMap<(u64, u64), &'a Path>,
) -> io::Result<()> {
    let meta = &entry.meta;
    let mut header = roots();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_size(0);
    let kind = meta.file_type();
    if !kind.is_dir() && meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            header.set_entry_type(EntryType::Link);
            return archive.append_link(&mut header, &entry.name, first);
        }
        links.insert((meta.dev(), meta.ino()), &entry.name);
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return archive.append_link(&mut header, &entry.name, fs::read_link(path)?);
    }
    if kind.is_file() {
        return append_file(archive, path, entry, header);
    }
    header.set_entry_type(if kind.is_dir() {
        EntryType::Directory
    } else if kind.is_fifo() {
        EntryType::Fifo
    } else if kind.is_char_device() {
        EntryType::Char
    } else {
        EntryType::Block
    });
    if kind.is_char_device() || kind.is_block_device() {
        header.set_device_major(u32::try_from(nix::sys::stat::major(meta.rdev())).unwrap_or(0))?;
        header.set_device_minor(u32::try_from(nix::sys::stat::minor(meta.rdev())).unwrap_or(0))?;
    }
    archive.append_data(&mut header, &entry.name, io::empty())
}

fn append_file<W: Write>(archive: &mut Archive<W>, path: &Path, entry: &Entry, mut header: Header) -> io::Result<()> {
    if let Ok(Some(capability)) = xattr::get(path, "security.capability") {
        archive.append_pax_extensions([("SCHILY.xattr.security.capability", capability.as_slice())])?;
    }
    let file = File::open(path)?;
    // As long as it is now: what was said before must be sent.
    let size = file.metadata()?.len();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    archive.append_data(&mut header, &entry.name, Exactly { file, left: size })
}

/// As many bytes of a file as were promised.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buf[..most])?;
        self.left -= read as u64;
        if read == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_folder_as_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::create_dir(at("target")).unwrap();
        for name in ["Dockerfile", "src/a", "src/deep/b", "target/x", "target/keep", "z.o"] {
            fs::write(at(name), name).unwrap();
        }
        fs::set_permissions(at("src/a"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(at("src/a"), at("src/hard")).unwrap();
        symlink("../nowhere", at("src/soft")).unwrap();
        let long = "l".repeat(120);
        fs::write(at(&long), "long").unwrap();
        let left_out = Patterns::new(&["target", "!target/keep", "*.o"]).unwrap();
        let entries = walk(folder.path(), &left_out).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let extra = [Extra { name: "Dockerfile".into(), content: b"FROM x".to_vec() }];
        write(&mut archive, folder.path(), &entries, &extra).unwrap();
        let bytes = archive.into_inner().unwrap();
        assert!(size(&entries, &extra) as usize <= bytes.len());
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
            let name = entry.path().unwrap().display().to_string();
            seen.push((name, header.entry_type(), header.mode().unwrap() & 0o7777, link, content));
        }
        let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
        let expected =
            [&long, "src", "src/a", "src/deep", "src/deep/b", "src/hard", "src/soft", "target/keep", "Dockerfile"];
        assert_eq!(names, expected);
        let of = |name: &str| seen.iter().find(|(own, ..)| own == name).unwrap();
        assert_eq!((of("src/a").2, of("src/a").4.as_str()), (0o4751, "src/a"));
        assert_eq!((of("src/hard").1, of("src/hard").3.as_str()), (EntryType::Link, "src/a"));
        assert_eq!((of("src/soft").1, of("src/soft").3.as_str()), (EntryType::Symlink, "../nowhere"));
        assert_eq!(of("Dockerfile").4, "FROM x");
    }
}
