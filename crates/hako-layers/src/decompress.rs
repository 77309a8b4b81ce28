//! gzip, zstd or plain, told apart by the first bytes.

use crate::{Error, Result};
use std::io::{BufRead, BufReader, Read};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, one or several members.
    Gzip,
    /// zstd, one or several frames.
    Zstd,
}

/// Read in steps of this size.
pub(crate) const CHUNK: usize = 256 << 10;

impl Compression {
    /// What the first bytes tell.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for bzip2 and xz.
    pub fn detect(start: &[u8]) -> Result<Self> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Err(Error::Unsupported("bzip2 compression".into())),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Unsupported("xz compression".into())),
            _ => Ok(Self::Plain),
        }
    }
}

/// The archive's bytes without their compression.
///
/// # Errors
/// The reader's; [`Error::Unsupported`] for bzip2 and xz.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    // A pipe may give the first bytes one by one.
    let start = peek(&mut reader)?;
    let kind = Compression::detect(&start)?;
    let whole = std::io::Cursor::new(start).chain(reader);
    Ok((
        kind,
        match kind {
            Compression::Plain => Box::new(whole),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, whole))),
            // The window is at most 128 MiB, zstd's own default limit.
            Compression::Zstd => {
                Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, whole))?)
            }
        },
    ))
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
