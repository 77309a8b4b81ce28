//! The initramfs: two programs, the folders that PID 1 mounts onto, and modules
//! for a kernel that has not everything built in. It is
//! not compressed (the emulated guest would pay for that), and the same input
//! gives the same bytes.

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Folders, parents first.
const DIRS: &[&str] = &["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"];
/// Name in the archive, name of the program.
const PROGRAMS: &[(&str, &str)] = &[("init", "hako-agent"), ("hako-runtime", "hako-runtime")];
/// Device nodes that PID 1 has before it mounts anything: name, mode, major and
/// minor number. The kernel opens the console for PID 1; where the virtio
/// console is not there yet (a race on a guest of several CPUs) PID 1 has no
/// descriptors, and the Rust runtime opens `/dev/null` for them or aborts.
const NODES: &[(&str, u32, u32, u32)] = &[("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3)];
/// Files of a few lines that programs expect to find.
const FILES: &[(&str, &str)] = &[("etc/passwd", "root:x:0:0:root:/root:/bin/false\n"), ("etc/group", "root:x:0:\n")];

/// Where hako-agent looks for modules.
const MODULES: &str = "modules";

/// Writes the archive of the programs in `programs` and of `modules`, which are
/// loaded in this order, to `out`, by temp and rename.
pub fn write(programs: &Path, modules: &[PathBuf], out: &Path) -> Result<()> {
    let part = out.with_extension("part");
    let file = fs::File::create(&part).with_context(|| format!("create {}", part.display()))?;
    let mut archive = Archive { out: io::BufWriter::new(file), ino: 0 };
    for dir in DIRS {
        let mode = if *dir == "tmp" { 0o1777 } else { 0o755 };
        archive.add(entry(dir, ModeFileType::Directory, mode), &[])?;
    }
    for (name, mode, major, minor) in NODES {
        let node = entry(name, ModeFileType::Char, *mode).rdev_major(*major).rdev_minor(*minor);
        archive.add(node, &[])?;
    }
    for (name, content) in FILES {
        archive.add(entry(name, ModeFileType::Regular, 0o644), content.as_bytes())?;
    }
    for (name, program) in PROGRAMS {
        let path = programs.join(program);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        archive.add(entry(name, ModeFileType::Regular, 0o755), &content)?;
    }
    if !modules.is_empty() {
        archive.add(entry(MODULES, ModeFileType::Directory, 0o755), &[])?;
    }
    for (position, path) in modules.iter().enumerate() {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{MODULES}/{position:02}-{name}");
        archive.add(entry(&name, ModeFileType::Regular, 0o644), &content)?;
    }
    let mut file = trailer(archive.out).context("end the archive")?;
    file.flush().with_context(|| format!("write {}", part.display()))?;
    fs::rename(&part, out).with_context(|| format!("rename to {}", out.display()))
}

fn entry(name: &str, kind: ModeFileType, mode: u32) -> Builder {
    Builder::new(name).mode(mode).set_mode_file_type(kind)
}

struct Archive {
    out: io::BufWriter<fs::File>,
    ino: u32,
}

impl Archive {
    fn add(&mut self, entry: Builder, content: &[u8]) -> Result<()> {
        self.ino += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB")?;
        let mut writer = entry.ino(self.ino).write(&mut self.out, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}
