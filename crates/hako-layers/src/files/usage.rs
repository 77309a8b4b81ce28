//! How many bytes the files of a tree have, as `docker system df` counts them.

use super::{
    Root, failed,
    names::join,
    pack::{Names, list},
    root::{kind_of, stat_of},
};
use hako_model::Result;
use rustix::{
    fs::{self, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{collections::HashSet, os::fd::AsFd};

/// Files with several links are remembered up to this many; later ones count each time.
const LINKS: usize = 1 << 16;

/// The bytes of all files below `root`, each once however many links it has;
/// directories count nothing. Links are not followed, nothing that is mounted
/// below is entered, and what goes meanwhile is passed over.
///
/// # Errors
/// The kernel's.
pub fn usage(root: &Root) -> Result<u64> {
    let device = stat_of(root.fd()).map_err(failed("lstat", b"/"))?;
    let device = (device.stx_dev_major, device.stx_dev_minor);
    let mut total = 0_u64;
    let mut linked = HashSet::new();
    // Paths and not descriptors: a tree may be deeper than there are open files.
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let at = || failed("open", &path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let name = if path.is_empty() { b".".as_slice() } else { &path };
        let dir = match fs::openat2(root.fd(), name, flags, Mode::empty(), resolve) {
            Ok(dir) => dir,
            // Gone, replaced, mounted on, or deeper than a path can say.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::AGAIN) => {
                continue;
            }
            Err(err) => return Err(at()(err)),
        };
        let mut names = Names::new(list(dir.as_fd()).map_err(at())?, 0).map_err(at())?;
        while let Some(name) = names.next().map_err(at())? {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(fd) = fs::openat(&dir, &name, flags, Mode::empty()) else { continue };
            let what = stat_of(&fd).map_err(at())?;
            if kind_of(&what) == FileType::Directory {
                left.push(join(&path, name.to_bytes()));
            } else if (what.stx_dev_major, what.stx_dev_minor) == device {
                let is_new = what.stx_nlink < 2 || linked.len() >= LINKS || linked.insert(what.stx_ino);
                total = total.saturating_add(if is_new { what.stx_size } else { 0 });
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as files;

    #[test]
    fn files_count_once_and_nothing_outside() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        files::create_dir_all(dir.path().join("a/b")).unwrap();
        files::write(dir.path().join("a/one"), vec![0; 1000]).unwrap();
        files::hard_link(dir.path().join("a/one"), dir.path().join("a/b/twin")).unwrap();
        files::write(dir.path().join("two"), vec![0; 7]).unwrap();
        files::write(other.path().join("big"), vec![0; 5000]).unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("out")).unwrap();
        let link = other.path().as_os_str().len() as u64;
        assert_eq!(usage(&Root::open(dir.path()).unwrap()).unwrap(), 1007 + link);
    }
}
