//! Content by digest: `blobs/sha256/<hex>`.

use crate::{Error, Result, Store, files};
use hako_model::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

/// A blob that was written, has its digest, and is not in the store yet:
/// dropping it removes it.
#[derive(Debug)]
pub struct Blob {
    /// Not open: an archive that is loaded has thousands of them.
    file: tempfile::TempPath,
    digest: Digest,
    size: u64,
    target: PathBuf,
}

/// Writes a blob. Bytes past the promised size are refused as they come.
#[derive(Debug)]
pub struct BlobWriter {
    file: tempfile::NamedTempFile,
    hash: Sha256,
    written: u64,
    expected: Option<Digest>,
    size: Option<u64>,
    folder: PathBuf,
}

impl Store {
    /// Where the blob lies if it is there.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is there.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// [`Error::NotFound`]; I/O errors.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => Error::NotFound(format!("content {digest}")),
            _ => Error::io(&path)(err),
        })
    }

    /// How many bytes a blob has.
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        let file = self.open_blob(digest)?;
        Ok(file.metadata().map_err(Error::io(&self.blob_path(digest)))?.len())
    }

    /// Reads a small blob whole.
    ///
    /// # Errors
    /// As [`Store::open_blob`]; [`Error::Size`] for one over `limit`.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(&self.blob_path(digest)))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Size { digest: digest.to_string(), expected: limit, actual: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    /// Begins a blob. What is given of digest and size is verified.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_blob(&self, expected: Option<&Digest>, size: Option<u64>) -> Result<BlobWriter> {
        let tmp = self.0.root.join("tmp");
        let file = tempfile::Builder::new().prefix("b").tempfile_in(&tmp).map_err(Error::io(&tmp))?;
        Ok(BlobWriter {
            file,
            hash: Sha256::new(),
            written: 0,
            expected: expected.cloned(),
            size,
            folder: self.0.root.join("blobs/sha256"),
        })
    }

    /// Stores small content whole; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Digest`] where `expected` is another; I/O errors.
    pub fn put_blob(&self, content: &[u8], expected: Option<&Digest>) -> Result<Digest> {
        let mut writer = self.write_blob(expected, None)?;
        writer.write_all(content).map_err(Error::io(&self.0.root.join("tmp")))?;
        let blob = writer.finish()?;
        let digest = blob.digest().clone();
        blob.commit()?;
        Ok(digest)
    }
}

impl BlobWriter {
    /// How many bytes have come.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the content and verifies it.
    ///
    /// # Errors
    /// [`Error::Digest`], [`Error::Size`]; nothing is kept.
    pub fn finish(self) -> Result<Blob> {
        let digest = Digest::from_sha256(<[u8; 32]>::from(self.hash.finalize()));
        if let Some(expected) = self.size
            && expected != self.written
        {
            let name = self.expected.unwrap_or(digest);
            return Err(Error::Size { digest: name.to_string(), expected, actual: self.written });
        }
        if let Some(expected) = self.expected
            && expected != digest
        {
            return Err(Error::Digest { expected, actual: digest });
        }
        let target = self.folder.join(digest.hex());
        Ok(Blob { file: self.file.into_temp_path(), digest, size: self.written, target })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(expected) = self.size
            && self.written + buf.len() as u64 > expected
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {expected} bytes of content")));
        }
        let n = self.file.as_file_mut().write(buf)?;
        self.hash.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Blob {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// Its size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The content, from its beginning, before or after [`Blob::commit`] elsewhere.
    ///
    /// # Errors
    /// I/O errors.
    pub fn open(&self) -> Result<File> {
        File::open(&self.file).map_err(Error::io(&self.file))
    }
    /// Puts it into the store, durably. Hold its digest by a lease before.
    ///
    /// # Errors
    /// I/O errors.
    pub fn commit(self) -> Result<()> {
        if self.target.is_file() {
            return Ok(());
        }
        files::commit(&self.file, &self.target)?;
        // The name is gone from tmp/: there is nothing left to remove there.
        let _ = self.file.keep();
        Ok(())
    }
}
