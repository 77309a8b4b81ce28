//! From an archive to a tree. One thread reads, decompresses and hashes; the
//! other writes; a few buffers go between them, and memory stays as it is
//! whatever the layer's size.

use crate::{
    Error, MAX_ENTRIES, MAX_LAYER_FLOOR, MAX_LAYER_RATIO, Result,
    decompress::{CHUNK, decompress},
    tarread::{Entry, TarReader},
    tree::Tree,
};
use hako_model::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// Buffers between the two threads.
const BUFFERS: usize = 8;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the tar without its compression.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
}

/// Unpacks a layer (gzip, zstd or plain, by its first bytes) into the empty
/// folder `dir`, in the form that overlayfs takes as a lower directory. All of
/// it is durable when this returns. On an error `dir` is left half filled and
/// the caller removes it. `progress` hears how many bytes of the archive are read.
///
/// # Errors
/// The archive's faults and the host's.
pub fn unpack(reader: impl Read + Send, dir: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<Unpacked> {
    let consumed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: reader, count: consumed.clone(), progress };
    let (_, plain) = decompress(counted)?;
    let (full, filled) = sync_channel::<io::Result<Vec<u8>>>(BUFFERS);
    let (empty, empties) = sync_channel::<Vec<u8>>(BUFFERS + 1);
    let (diff_id, size) = std::thread::scope(|scope| {
        let hasher = scope.spawn(move || pump(plain, &full, &empties, &consumed));
        let pipe = Pipe { filled, empty, current: Vec::new(), at: 0, ended: false };
        let mut pipe = pipe;
        let written = write_tree(&mut pipe, dir);
        // The tar's end is not the stream's: the digest covers what follows too.
        let written = match written {
            Ok(size) => io::copy(&mut pipe, &mut io::sink()).map(|_| size).map_err(Error::from),
            Err(err) => Err(err),
        };
        drop(pipe);
        let hash = hasher.join().map_err(|_| Error::Malformed("the decompressor panicked".into()))?;
        Ok::<_, Error>((hash, written?))
    })?;
    Ok(Unpacked { diff_id: Digest::from_sha256(<[u8; 32]>::from(diff_id)), size })
}

/// Unpacks a plain tar whose digest is known already; the answer is the bytes of its files.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_verified(tar: impl Read, dir: &Path) -> Result<u64> {
    write_tree(&mut BufReader::with_capacity(CHUNK, tar), dir)
}

fn write_tree(reader: &mut impl BufRead, dir: &Path) -> Result<u64> {
    let mut tree = Tree::new(dir)?;
    let mut tar = TarReader::new(reader);
    let (mut size, mut entries) = (0u64, 0u64);
    let (mut apparent, mut real) = (0u64, 0u64);
    while let Some(entry) = tar.next_entry()? {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(Error::Limit(format!("more than {MAX_ENTRIES} entries")));
        }
        // Holes cost nothing here, but an image of this tree would have to write them.
        apparent = apparent.saturating_add(entry.size);
        real = real.saturating_add(tar.data_left());
        if apparent > MAX_LAYER_FLOOR.max(real.saturating_mul(MAX_LAYER_RATIO)) {
            return Err(Error::Limit(format!("sparse files of {apparent} bytes with {real} bytes of data")));
        }
        if let Some(file) = tree.make(&entry)? {
            let mut file = File::from(file);
            write_data(&mut tar, &mut file, &entry)?;
            tree.finish_file(&file.into(), &entry)?;
            size += entry.size;
        }
    }
    tree.finish()?;
    Ok(size)
}

fn write_data(tar: &mut TarReader<impl BufRead>, file: &mut File, entry: &Entry) -> Result<()> {
    let Some(map) = &entry.map else {
        let len = tar.data_left();
        return tar.data(len, &mut |piece| file.write_all(piece).map_err(Error::entry(&entry.path)));
    };
    for stretch in map {
        file.seek(SeekFrom::Start(stretch.offset)).map_err(Error::entry(&entry.path))?;
        tar.data(stretch.len, &mut |piece| file.write_all(piece).map_err(Error::entry(&entry.path)))?;
    }
    file.set_len(entry.size).map_err(Error::entry(&entry.path))
}

/// Reads to the end, hashes, and hands on, within the limit on what an archive may grow to.
fn pump(
    mut plain: Box<dyn Read + Send + '_>,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empties: &Receiver<Vec<u8>>,
    consumed: &AtomicU64,
) -> sha2::digest::Output<Sha256> {
    let mut hash = Sha256::new();
    let mut total = 0u64;
    let mut made = 0;
    loop {
        let mut buffer = match empties.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if made <= BUFFERS => {
                made += 1;
                Vec::with_capacity(CHUNK)
            }
            Err(_) => match empties.recv() {
                Ok(buffer) => buffer,
                Err(_) => break,
            },
        };
        buffer.clear();
        let read = plain.by_ref().take(CHUNK as u64).read_to_end(&mut buffer);
        total += buffer.len() as u64;
        hash.update(&buffer);
        let limit = MAX_LAYER_FLOOR.max(consumed.load(Ordering::Relaxed).saturating_mul(MAX_LAYER_RATIO));
        let message = match read {
            Ok(0) => break,
            Ok(_) if total > limit => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("it unpacks to more than {limit} bytes")))
            }
            Ok(_) => Ok(buffer),
            Err(err) => Err(err),
        };
        let last = message.is_err();
        if full.send(message).is_err() || last {
            break;
        }
    }
    hash.finalize()
}

/// The writer's end of the buffers.
struct Pipe {
    filled: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && !self.ended {
            let old = std::mem::take(&mut self.current);
            self.at = 0;
            if old.capacity() > 0 {
                // The reader has gone once it has read all.
                let _ = self.empty.try_send(old);
            }
            match self.filled.recv() {
                Ok(next) => self.current = next?,
                Err(_) => self.ended = true,
            }
        }
        Ok(&self.current[self.at..])
    }
    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.current.len());
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

struct Counted<'a, R> {
    inner: R,
    count: Arc<AtomicU64>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let total = self.count.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        (self.progress)(total);
        Ok(n)
    }
}
