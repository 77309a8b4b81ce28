//! The outer machine's initramfs: busybox, the modules in their order, and the
//! two scripts.

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const DIRS: [&str; 10] = ["bin", "dev", "disk", "host", "modules", "newroot", "proc", "run", "sys", "tmp"];

/// Writes the archive to `out`; `main` is the script that runs in the root
/// filesystem.
pub fn write(out: &Path, busybox: &Path, modules: &[PathBuf], main: &str) -> Result<()> {
    let mut archive = Archive::default();
    for dir in DIRS {
        archive.dir(dir)?;
    }
    archive.copy("bin/busybox", busybox)?;
    archive.program("init", include_bytes!("init.sh"))?;
    archive.program("main.sh", main.as_bytes())?;
    for (position, module) in modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(&format!("modules/{position:02}-{name}"), module)?;
    }
    archive.finish(out)
}

/// An initramfs under way. Folders come before what is in them.
#[derive(Default)]
pub struct Archive {
    out: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// Adds a folder.
    pub fn dir(&mut self, name: &str) -> Result<()> {
        self.add(name, ModeFileType::Directory, &[])
    }

    /// Adds a file that may be executed.
    pub fn program(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.add(name, ModeFileType::Regular, data)
    }

    /// Adds a file of this machine.
    pub fn copy(&mut self, name: &str, file: &Path) -> Result<()> {
        let data = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        self.program(name, &data)
    }

    /// Ends the archive and writes it to `file`.
    pub fn finish(self, file: &Path) -> Result<()> {
        let bytes = trailer(self.out).context("ending the initramfs")?;
        fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
    }

    fn add(&mut self, name: &str, kind: ModeFileType, data: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len()).context("a file too large for an initramfs")?;
        let entry = Builder::new(name).ino(self.inode).mode(0o755).set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}
