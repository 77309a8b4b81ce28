//! An archive from outside, unpacked into a directory: a build's context, and
//! what `ADD` finds to be a tar.

use super::{Destination, Extract, Root};
use crate::{
    MAX_ENTRIES, MAX_LAYER_FLOOR, MAX_LAYER_RATIO,
    decompress::{CHUNK, decompress},
    tarread::Entry,
};
use hako_model::{Error, Result};
use std::{
    io::{self, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Unpacks a tar, compressed or not, below the directory `path`, within the
/// limits of a layer. `choose` says what is wanted of it.
///
/// # Errors
/// The archive's faults, the limits, and the kernel's answers.
pub fn unpack_archive(
    archive: impl Read + Send,
    root: &Root,
    path: &[u8],
    how: Extract,
    choose: &mut dyn FnMut(&mut Entry) -> Result<bool>,
) -> Result<()> {
    let read = Arc::new(AtomicU64::new(0));
    let (_, plain) = decompress(Counted { inner: archive, count: read.clone() })?;
    let most = {
        let read = read.clone();
        move || MAX_LAYER_FLOOR.max(read.load(Ordering::Relaxed).saturating_mul(MAX_LAYER_RATIO))
    };
    let mut plain = BufReader::with_capacity(CHUNK, Bounded { inner: plain, done: 0, most: &most });
    let (mut entries, mut bytes) = (0u64, 0u64);
    let mut within = |entry: &mut Entry| {
        entries += 1;
        // Holes are no bytes of the archive.
        bytes = bytes.saturating_add(entry.size);
        if entries > MAX_ENTRIES || bytes > most() {
            return Err(Error::invalid(format!("archive with more than {MAX_ENTRIES} entries or {} bytes", most())));
        }
        choose(entry)
    };
    Destination::find(root, path)?.unpack_as(&mut plain, how, &mut within)?;
    // A client that is still sending is read to its end.
    io::copy(&mut plain, &mut io::sink())?;
    Ok(())
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

struct Bounded<'a, R> {
    inner: R,
    done: u64,
    most: &'a (dyn Fn() -> u64 + Sync),
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.done += n as u64;
        let most = (self.most)();
        if self.done > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it unpacks to more than {most} bytes")));
        }
        Ok(n)
    }
}
