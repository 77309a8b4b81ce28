//! Durable file work: a name appears only with its whole content behind it.

use crate::{Error, Result};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

/// What an engine locks in its data root.
pub(crate) const LOCK: &str = "hako.lock";

/// Makes `path` and its parents, and leaves what exists as it is.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(Error::io(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io(path))
}

/// Takes the data root's lock, which ends with the process.
pub(crate) fn lock_root(root: &Path) -> Result<File> {
    take(root, File::options().create(true).truncate(false).write(true))
}

/// The same for one that is a data root already.
pub(crate) fn lock_old_root(root: &Path) -> Result<File> {
    take(root, File::options().write(true))
}

fn take(root: &Path, options: &OpenOptions) -> Result<File> {
    let path = root.join(LOCK);
    let file = options.open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(root.to_owned())),
        Err(TryLockError::Error(err)) => Err(Error::io(&path)(err)),
    }
}

/// Bytes that a file takes on the disk.
pub(crate) fn on_disk(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

/// Empties `tmp/`.
pub(crate) fn empty_tmp(root: &Path) -> Result<()> {
    let tmp = root.join("tmp");
    if let Err(err) = fs::remove_dir_all(&tmp)
        && err.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Error::io(&tmp)(err));
    }
    make_dir(&tmp, 0o700)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir))
}

/// Moves `from`, whose content is made durable first if it is a file, to `to`
/// and makes the name durable.
pub(crate) fn commit(from: &Path, to: &Path) -> Result<()> {
    let file = File::open(from).map_err(Error::io(from))?;
    file.sync_all().map_err(Error::io(from))?;
    fs::rename(from, to).map_err(Error::io(to))?;
    match to.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// Directories that lie deeper, or whose paths are longer, are moved up before
/// a tree is removed: what removes it holds an open file for each level.
const DEEP: usize = 64;
const LONG: usize = 2048;

/// Removes the folder `top` with all in it, however deep that is. `tmp`, on the
/// same filesystem, takes the deep parts meanwhile. Nobody else may use it.
pub(crate) fn remove_tree(top: &Path, tmp: &Path) -> Result<()> {
    let mut left = vec![top.to_owned()];
    while let Some(tree) = left.pop() {
        cut(&tree, tmp, 0, &mut left)?;
        fs::remove_dir_all(&tree).map_err(Error::io(&tree))?;
    }
    Ok(())
}

fn cut(dir: &Path, tmp: &Path, depth: usize, left: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let entry = entry.map_err(Error::io(dir))?;
        if !entry.file_type().map_err(Error::io(dir))?.is_dir() {
            continue;
        }
        let path = entry.path();
        if depth + 1 < DEEP && path.as_os_str().len() < LONG {
            cut(&path, tmp, depth + 1, left)?;
            continue;
        }
        let place = tempfile::Builder::new().prefix("deep").tempdir_in(tmp).map_err(Error::io(tmp))?.keep();
        fs::rename(&path, &place).map_err(Error::io(&path))?;
        left.push(place);
    }
    Ok(())
}

/// The names in `dir` that are text.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
