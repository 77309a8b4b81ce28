//! Files that are there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Replaces `path` by `content`, durably: a temporary file beside it, synced,
/// renamed over it, and the folder synced. After a crash either the old or the
/// new content is there.
///
/// # Errors
/// The kernel's; then `path` is as it was.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, File::sync_all)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Replaces `path` by `content` as [`write_atomic`] does, but leaves it to the
/// kernel when that reaches the disk: it outlives this process, not a crash of
/// the machine. For folders that are lost then anyway.
///
/// # Errors
/// The kernel's; then `path` is as it was.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, |_| Ok(()))
}

fn put(path: &Path, content: &[u8], mode: u32, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file's path"));
    };
    let mut temp_name = std::ffi::OsString::from(".");
    temp_name.push(name);
    temp_name.push(format!(".{}.tmp", std::process::id()));
    let temp = dir.join(temp_name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temp)?;
        file.write_all(content)?;
        sync(&file)
    };
    let written = write().and_then(|()| fs::rename(&temp, path));
    if written.is_err() {
        // The first error says more than one about the leftover.
        let _ = fs::remove_file(&temp);
    }
    written
}
