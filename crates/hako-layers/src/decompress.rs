//! gzip, bzip2, xz, zstd or plain, told apart by the first bytes.

use crate::{Error, MAX_LAYER_FLOOR, MAX_LAYER_RATIO, Result};
use std::{
    io::{BufRead, BufReader, Read, Write},
    sync::atomic::{AtomicU64, Ordering},
};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, one or several members.
    Gzip,
    /// bzip2, one or several streams.
    Bzip2,
    /// xz, one or several streams.
    Xz,
    /// zstd, one or several frames.
    Zstd,
}

/// What an xz stream may ask for as its window: four times what `xz -9` takes.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// Read in steps of this size.
pub(crate) const CHUNK: usize = 256 << 10;

impl Compression {
    /// What the first bytes tell.
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// The archive's bytes without their compression.
///
/// # Errors
/// The reader's.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    // A pipe may give the first bytes one by one.
    let start = peek(&mut reader)?;
    let kind = Compression::detect(&start);
    let whole = std::io::Cursor::new(start).chain(reader);
    Ok((
        kind,
        match kind {
            Compression::Plain => Box::new(whole),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, whole))),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::with_capacity(CHUNK, whole))),
            Compression::Xz => {
                let whole = BufReader::with_capacity(CHUNK, whole);
                Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB))
            }
            // The window is at most 128 MiB, zstd's own default limit.
            Compression::Zstd => {
                Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, whole))?)
            }
        },
    ))
}

/// Copies an archive without its compression, within the limit on what it may
/// grow to; the number of bytes.
///
/// # Errors
/// [`Error::Limit`] for a decompression bomb; the reader's and the writer's.
pub fn inflate(reader: impl Read + Send, mut out: impl Write) -> Result<u64> {
    let consumed = AtomicU64::new(0);
    let (_, mut plain) = decompress(Counted { inner: reader, count: &consumed })?;
    let mut buffer = vec![0; CHUNK];
    let mut total = 0u64;
    loop {
        let n = plain.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        total += n as u64;
        let limit = MAX_LAYER_FLOOR.max(consumed.load(Ordering::Relaxed).saturating_mul(MAX_LAYER_RATIO));
        if total > limit {
            return Err(Error::Limit(format!("it unpacks to more than {limit} bytes")));
        }
        out.write_all(&buffer[..n]).map_err(Error::host("keep the archive"))?;
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn peek(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(8);
    while start.len() < 8 {
        let available = reader.fill_buf().map_err(Error::Read)?;
        if available.is_empty() {
            break;
        }
        let n = available.len().min(8 - start.len());
        start.extend_from_slice(&available[..n]);
        reader.consume(n);
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(packed: &[u8]) -> (Compression, String) {
        let (kind, mut reader) = decompress(packed).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (kind, text)
    }

    #[test]
    fn what_other_tools_have_packed() {
        // `printf … | xz -9` and `| bzip2`.
        let xz =
            b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x1c\x00\x00\x00\x10\xcfX\xcc\x01\x00\x09hello, xz\n\x00\
            \x00\x00\xeb\x12\xb6\x8b\xfcq\xdf(\x00\x01\"\x0a\x15\x1a\xe1g\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ";
        assert_eq!(plain(xz), (Compression::Xz, "hello, xz\n".to_owned()));
        let bzip2 = b"BZh91AY&SY&\xd0\x9b\xaf\x00\x00\x02\xd1\x80\x00\x10@\x04\x12D\x80\x10 \x001\x06LA\x00\xd3j\x18kL\
            \x83\xc5\xdc\x91N\x14$\x09\xb4&\xeb\xc0";
        assert_eq!(plain(bzip2), (Compression::Bzip2, "hello, bz\n".to_owned()));
        assert_eq!(plain(b"BZ is no archive"), (Compression::Plain, "BZ is no archive".to_owned()));
        assert!(decompress(&xz[..40]).unwrap().1.read_to_end(&mut Vec::new()).is_err());
    }
}
