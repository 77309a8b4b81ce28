//! A tar of plain files and folders that is the same for the same content:
//! what `save` writes. Owners are root's and times are 0.

use crate::{
    EntryKind,
    tarwrite::{Head, TarWriter},
};
use std::io::{self, Read, Write};

/// Copied in pieces of this size.
const PIECE: usize = 256 << 10;

/// The writer.
#[derive(Debug)]
pub struct ArchiveWriter<W>(TarWriter<W>);

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self(TarWriter::new(out))
    }

    /// Adds a folder; its name ends with a slash.
    ///
    /// # Errors
    /// The writer's.
    pub fn dir(&mut self, name: &str) -> io::Result<()> {
        let kind = Some(EntryKind::Directory);
        self.0.entry(&Head { path: name.as_bytes(), kind, mode: 0o755, ..Head::default() })
    }

    /// Adds a file of exactly `size` bytes.
    ///
    /// # Errors
    /// The writer's and the reader's, which must have as many bytes.
    pub fn file(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        self.0.entry(&Head { path: name.as_bytes(), mode: 0o644, size, ..Head::default() })?;
        let mut content = content.take(size);
        let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut left = size;
        while left > 0 {
            let n = content.read(&mut buffer)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is {left} bytes too short")));
            }
            self.0.data(&buffer[..n])?;
            left -= n as u64;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TarReader;

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let make = || {
            let mut tar = ArchiveWriter::new(Vec::new());
            tar.dir("blobs/").unwrap();
            tar.file("blobs/x", 3, &b"abc"[..]).unwrap();
            tar.file("empty", 0, &b""[..]).unwrap();
            tar.finish().unwrap()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        assert_eq!(bytes.len() % 512, 0);
        let mut tar = TarReader::new(bytes.as_slice());
        let dir = tar.next_entry().unwrap().unwrap();
        assert_eq!((dir.kind, dir.path.as_slice(), dir.mode), (EntryKind::Directory, &b"blobs/"[..], 0o755));
        assert_eq!(tar.next_entry().unwrap().unwrap().size, 3);
        assert_eq!(tar.next_entry().unwrap().unwrap().path, b"empty");
        assert!(tar.next_entry().unwrap().is_none());
        let short = ArchiveWriter::new(Vec::new()).file("x", 4, &b"abc"[..]).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }
}
