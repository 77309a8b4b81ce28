//! The kernel's modules that the initramfs brings, for a kernel that has not
//! everything built in.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The modules: by their names, which begin with a number, each comes after those
/// that it needs.
const FOLDER: &str = "/modules";

/// Loads them all, in order. Each goes once it is loaded: the initramfs is memory.
pub fn load() -> Result<()> {
    for path in list(Path::new(FOLDER)).with_context(|| format!("read {FOLDER}"))? {
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // Another one has brought it along.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(err) => return Err(err).with_context(|| format!("load {}", path.display())),
        }
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The files of `folder` by name; none where there is no such folder.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::list;
    use std::{fs::File, path::Path};

    #[test]
    fn modules_come_by_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["01-virtio.ko", "10-erofs.ko", "00-virtio_ring.ko"] {
            File::create(folder.path().join(name)).unwrap();
        }
        let names: Vec<_> = list(folder.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["00-virtio_ring.ko", "01-virtio.ko", "10-erofs.ko"]);
        assert!(list(Path::new("/no/such/folder")).unwrap().is_empty());
    }
}
