//! From one root to another: what `COPY` and `ADD` of a build do.

use super::{
    Destination, Extract, Root, attributes, failed,
    names::{absolute, base_name, split},
    pack::{Names, Source, list},
    root::{kind_of, stat_of},
};
use crate::{
    decompress::decompress,
    tarread::{Entry, EntryKind, TarReader},
};
use hako_model::{Digest, Error, ErrorKind, Result};
use rustix::fs::{FileType, OFlags};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    os::fd::AsFd,
};

/// Between the thread that reads and the one that writes.
const BUFFER: usize = 256 << 10;

/// How it is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copy {
    /// Whose everything becomes, with the directories that are made on the way;
    /// without it files stay whose they are and those directories are root's.
    pub owner: Option<(u32, u32)>,
    /// The mode of every file and directory.
    pub mode: Option<u32>,
}

/// What is copied: a file, or what is in a directory.
#[derive(Debug)]
pub struct CopySource<'a> {
    root: &'a Root,
    /// As it was asked for, which names a file that a link leads to.
    name: Vec<u8>,
    /// All links followed.
    path: Vec<u8>,
    is_dir: bool,
}

impl<'a> CopySource<'a> {
    /// Finds `path`; a link at its end is followed.
    ///
    /// # Errors
    /// `NotFound`; the kernel's.
    pub fn find(root: &'a Root, path: &[u8]) -> Result<Self> {
        let fd = root.find(path, OFlags::empty()).map_err(failed("stat", path))?;
        let what = stat_of(&fd).map_err(failed("stat", path))?;
        let is_dir = kind_of(&what) == FileType::Directory;
        let path = absolute(path);
        let name = base_name(&path).to_vec();
        let path = root.follow(&path).map_err(failed("readlink", &path))?;
        Ok(Self { root, name, path, is_dir })
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.is_dir
    }

    /// The digest of all that is copied: names, contents, modes, owners and
    /// attributes, and no times.
    ///
    /// # Errors
    /// The kernel's.
    pub fn digest(&self) -> Result<Digest> {
        let mut hash = Hash(Sha256::new());
        // A file that a link leads to has the link's name.
        hash.0.update(&self.name);
        hash.0.update([0, u8::from(self.is_dir)]);
        Source::find(self.root, &self.path)?.pack_timeless(BufWriter::with_capacity(BUFFER, &mut hash))?;
        Ok(Digest::from_sha256(<[u8; 32]>::from(hash.0.finalize())))
    }

    /// Whether it is a file that holds a tar, compressed or not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_archive(&self) -> Result<bool> {
        if self.is_dir {
            return Ok(false);
        }
        let Ok((_, plain)) = decompress(self.open()?) else { return Ok(false) };
        let mut tar = TarReader::new(BufReader::new(plain));
        Ok(tar.next_entry().is_ok_and(|entry| entry.is_some()))
    }

    /// Its content.
    ///
    /// # Errors
    /// The kernel's; it is no regular file.
    pub fn open(&self) -> Result<File> {
        self.root.read(&self.path)
    }

    /// Unpacks it, a tar, below `dest`.
    ///
    /// # Errors
    /// As [`super::unpack_archive`].
    pub fn unpack(&self, to: &Root, dest: &[u8]) -> Result<()> {
        let dir = to.follow(dest).map_err(failed("lstat", dest))?;
        drop(to.make_dirs(&dir)?);
        super::unpack_archive(self.open()?, to, &dir, Extract::default(), &mut |_| Ok(true))
    }

    /// Copies it to `dest`, an absolute path whose links are followed. A
    /// directory's contents go into the directory `dest`; a file becomes
    /// `dest`, or lands in it where that is a directory or ends with a slash.
    /// `wanted` is asked for each name, relative to what is copied.
    ///
    /// # Errors
    /// The kernel's.
    pub fn copy(&self, to: &Root, dest: &[u8], how: Copy, wanted: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<()> {
        let target = to.follow(dest).map_err(failed("lstat", dest))?;
        let (dir, name) = if self.is_dir {
            (target.as_slice(), None)
        } else if dest.ends_with(b"/") || to.find_dir(&target).is_ok() {
            (target.as_slice(), Some(self.name.as_slice()))
        } else {
            let (dir, name) = split(&target);
            (dir, Some(name))
        };
        drop(to.make_dirs_as(dir, how.owner)?);
        let wanted = |path: &[u8]| {
            let placed = self.placed(path, name);
            placed.is_empty() || wanted(&placed)
        };
        let mut choose = |entry: &mut Entry| Ok(self.place(entry, name, how));
        self.transfer(to, dir, Extract { owner: how.owner, ..Extract::default() }, &wanted, &mut choose)
    }

    /// Copies what is in it, a directory, into the root of `to`, which becomes
    /// as it is: owner, mode, attributes and times.
    ///
    /// # Errors
    /// The kernel's.
    pub fn copy_whole(&self, to: &Root) -> Result<()> {
        let mut own = None;
        let mut choose = |entry: &mut Entry| {
            let is_below = self.place(entry, None, Copy::default());
            if !is_below {
                own = Some(entry.clone());
            }
            Ok(is_below)
        };
        self.transfer(to, b"/", Extract::default(), &|_| true, &mut choose)?;
        match own {
            Some(own) => attributes::write(to.fd(), &own, false).map_err(failed("chown", &self.path)),
            None => Ok(()),
        }
    }

    /// One thread reads, this one writes.
    fn transfer(
        &self,
        to: &Root,
        dir: &[u8],
        how: Extract,
        wanted: &(dyn Fn(&[u8]) -> bool + Sync),
        choose: &mut dyn FnMut(&mut Entry) -> Result<bool>,
    ) -> Result<()> {
        let source = Source::find(self.root, &self.path)?;
        let (reader, writer) = io::pipe()?;
        std::thread::scope(|scope| {
            let pack = move || source.pack_wanted(BufWriter::with_capacity(BUFFER, writer), wanted);
            let packer = std::thread::Builder::new().name("copy".into()).spawn_scoped(scope, pack)?;
            let unpacked = Destination::find(to, dir)
                .and_then(|there| there.unpack_as(BufReader::with_capacity(BUFFER, &reader), how, choose));
            // The one who reads stops at its next write.
            drop(reader);
            let packed = packer.join().unwrap_or_else(|_| Err(Error::internal("reading what is copied panicked")));
            match packed {
                // What the writer could not read is why the other end is not whole.
                Err(err) if err.kind != ErrorKind::Unavailable => Err(err),
                Ok(()) | Err(_) => unpacked,
            }
        })
    }

    /// Gives an entry its place below the directory; false for what is copied itself.
    fn place(&self, entry: &mut Entry, name: Option<&[u8]>, how: Copy) -> bool {
        if let Some(mode) = how.mode {
            entry.mode = mode;
        }
        entry.path = self.placed(&entry.path, name);
        if entry.kind == EntryKind::HardLink {
            entry.link = self.placed(&entry.link, name);
        }
        !entry.path.is_empty()
    }

    /// A name in the archive as one below the directory; nothing for what is
    /// copied itself, unless it is a file, which has a name of its own there.
    fn placed(&self, path: &[u8], name: Option<&[u8]>) -> Vec<u8> {
        if let Some(name) = name {
            return name.to_vec();
        }
        let path = path.strip_prefix(base_name(&self.path)).unwrap_or(path);
        path.strip_prefix(b"/").unwrap_or(path).to_vec()
    }
}

/// The names in the directory `dir`, sorted; none where it is no directory.
///
/// # Errors
/// The kernel's.
pub fn names(root: &Root, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
    let Ok(fd) = root.find_dir(dir) else { return Ok(Vec::new()) };
    let at = || failed("readdirent", dir);
    let mut names = Names::new(list(fd.as_fd()).map_err(at())?, 0).map_err(at())?;
    let mut all = Vec::new();
    while let Some(name) = names.next().map_err(at())? {
        all.push(name.into_bytes());
    }
    all.sort_unstable();
    Ok(all)
}

struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        path::Path,
    };
    use tempfile::TempDir;

    fn roots() -> (TempDir, Root, TempDir, Root) {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (a, b) = (Root::open(from.path()).unwrap(), Root::open(to.path()).unwrap());
        (from, a, to, b)
    }

    fn copy(from: &Root, path: &str, to: &Root, dest: &str, how: Copy) {
        CopySource::find(from, path.as_bytes()).unwrap().copy(to, dest.as_bytes(), how, &|_| true).unwrap();
    }

    fn text(root: &Path, path: &str) -> String {
        fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn files_and_folders_land_where_docker_puts_them() {
        let (from, a, to, b) = roots();
        fs::create_dir_all(from.path().join("d/deep")).unwrap();
        fs::write(from.path().join("d/deep/f"), "deep").unwrap();
        fs::hard_link(from.path().join("d/deep/f"), from.path().join("d/twin")).unwrap();
        symlink("deep/f", from.path().join("d/soft")).unwrap();
        symlink("d/deep/f", from.path().join("named")).unwrap();
        let how = Copy::default();
        copy(&a, "/d", &b, "/made/here", how);
        assert_eq!(text(to.path(), "made/here/deep/f"), "deep");
        let inode = |path: &str| fs::metadata(to.path().join("made/here").join(path)).unwrap().ino();
        assert_eq!(inode("twin"), inode("deep/f"));
        assert_eq!(fs::read_link(to.path().join("made/here/soft")).unwrap(), Path::new("deep/f"));
        // A link that is named is followed; what it leads to gets its name.
        copy(&a, "/named", &b, "/made/", how);
        copy(&a, "/named", &b, "/made", how);
        copy(&a, "/named", &b, "/other/name", how);
        assert_eq!((text(to.path(), "made/named"), text(to.path(), "other/name")), ("deep".into(), "deep".into()));
        assert!(!fs::symlink_metadata(to.path().join("made/named")).unwrap().is_symlink());
    }

    /// Of two names of a file either may be left out.
    #[test]
    fn hard_links_of_what_is_left_out() {
        let (from, a, ..) = roots();
        fs::create_dir_all(from.path().join("d/b")).unwrap();
        fs::write(from.path().join("d/a"), "one").unwrap();
        for twin in ["d/b/c", "d/e"] {
            fs::hard_link(from.path().join("d/a"), from.path().join(twin)).unwrap();
        }
        for (left_out, kept) in [("a", ["b/c", "e"]), ("b/c", ["a", "e"]), ("e", ["a", "b/c"])] {
            let to = TempDir::new().unwrap();
            let root = Root::open(to.path()).unwrap();
            let source = CopySource::find(&a, b"/d").unwrap();
            source.copy(&root, b"/", Copy::default(), &|path| path != left_out.as_bytes()).unwrap();
            assert!(!to.path().join(left_out).exists());
            let inodes = kept.map(|path| fs::metadata(to.path().join(path)).unwrap().ino());
            assert!(inodes[0] == inodes[1] && text(to.path(), kept[0]) == "one");
        }
    }

    #[test]
    fn links_of_the_destination_stay_in_it() {
        let (from, a, to, b) = roots();
        fs::write(from.path().join("f"), "in").unwrap();
        symlink("/../../../../x", to.path().join("out")).unwrap();
        copy(&a, "/f", &b, "/out/f", Copy { owner: Some((5, 6)), mode: Some(0o640) });
        let made = fs::metadata(to.path().join("x/f")).unwrap();
        assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o7777), (5, 6, 0o640));
        let folder = fs::metadata(to.path().join("x")).unwrap();
        assert_eq!((folder.uid(), folder.permissions().mode() & 0o7777), (5, 0o755));
    }

    #[test]
    fn a_whole_directory_with_its_own_mode_and_owner() {
        let (from, a, to, b) = roots();
        let data = from.path().join("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("sub/f"), "x").unwrap();
        symlink("/data", from.path().join("link")).unwrap();
        std::os::unix::fs::chown(&data, Some(7), Some(8)).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).unwrap();
        CopySource::find(&a, b"/link").unwrap().copy_whole(&b).unwrap();
        let made = fs::metadata(to.path()).unwrap();
        assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o7777), (7, 8, 0o2750));
        assert_eq!(made.mtime(), fs::metadata(&data).unwrap().mtime());
        assert_eq!(text(to.path(), "sub/f"), "x");
        assert_eq!(fs::metadata(to.path().join("sub")).unwrap().uid(), 0);
    }

    #[test]
    fn digests_are_of_all_but_times() {
        let (from, a, ..) = roots();
        let file = from.path().join("d/f");
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(&file, "1").unwrap();
        let digest = || CopySource::find(&a, b"/d").unwrap().digest().unwrap();
        let first = digest();
        fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(digest(), first);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let second = digest();
        fs::write(&file, "2").unwrap();
        let third = digest();
        fs::rename(&file, from.path().join("d/g")).unwrap();
        assert!(first != second && second != third && third != digest());
    }

    #[test]
    fn only_a_tar_is_an_archive() {
        let (from, a, _to, b) = roots();
        fs::write(from.path().join("text"), "no tar at all").unwrap();
        let mut tar = crate::tarwrite::TarWriter::new(Vec::new());
        tar.entry(&crate::tarwrite::Head { path: b"x/y", mode: 0o600, size: 1, ..Default::default() }).unwrap();
        tar.data(b"z").unwrap();
        fs::write(from.path().join("tar"), tar.finish().unwrap()).unwrap();
        let is = |path: &[u8]| CopySource::find(&a, path).unwrap().is_archive().unwrap();
        assert!(is(b"/tar") && !is(b"/text") && !is(b"/"));
        CopySource::find(&a, b"/tar").unwrap().unpack(&b, b"/to").unwrap();
        assert_eq!(text(_to.path(), "to/x/y"), "z");
    }
}
