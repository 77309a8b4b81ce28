//! Copies of disk images that keep their holes.

use crate::{Error, Result};
use rustix::{
    fs::{self, SeekFrom},
    io::Errno,
};
use std::{fs::File, io, path::Path};

/// Copies `from` to the new file `to`: as a reflink where the filesystem can,
/// or else the data between its holes.
///
/// # Errors
/// I/O errors; `to` is then removed.
pub fn sparse_copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copy {} to {}", from.display(), to.display());
    let source = File::open(from).map_err(Error::host(what()))?;
    let target = File::options().write(true).create_new(true).open(to).map_err(Error::host(what()))?;
    copy(&source, &target).map_err(|err| {
        // The copy's error is the one to tell.
        let _ = std::fs::remove_file(to);
        Error::host(what())(err)
    })
}

fn copy(source: &File, target: &File) -> io::Result<()> {
    if fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match fs::seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(err) => return Err(err.into()),
        };
        let end = fs::seek(source, SeekFrom::Hole(start))?;
        copy_range(source, target, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let len = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        match fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), len) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
                return copy_by_buffer(source, target, from, end);
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn copy_by_buffer(source: &File, target: &File, mut at: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 256 << 10];
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        source.read_exact_at(&mut buffer[..len], at)?;
        target.write_all_at(&buffer[..len], at)?;
        at += len as u64;
    }
    Ok(())
}
