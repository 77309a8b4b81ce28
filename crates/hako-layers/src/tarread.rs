//! Reads a tar as a stream: ustar, GNU and PAX, with memory bounded whatever
//! the archive says. The `tar` crate decodes the fields; the framing is here,
//! because that crate holds long names of any length in memory and parts PAX
//! values at newlines.

use crate::{
    Error, MAX_EXTENSION, Result,
    error::show,
    pax::{Pax, PaxSparse, Stretch, check_map, map_from_data},
};
use rustix::fs::{Dev, FileType, makedev};
use std::io::BufRead;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with data.
    File,
    /// Another name for an entry before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
}

/// One entry's head; its data is read through [`TarReader`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its name as written.
    pub path: Vec<u8>,
    /// The target of a link as written.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a sparse file has data.
    pub(crate) map: Option<Vec<Stretch>>,
}

impl Entry {
    /// A device's or FIFO's kind and number, as `mknod` takes them.
    pub(crate) fn node(&self) -> (FileType, Dev) {
        let device = makedev(self.device.0, self.device.1);
        match self.kind {
            EntryKind::CharDevice => (FileType::CharacterDevice, device),
            EntryKind::BlockDevice => (FileType::BlockDevice, device),
            EntryKind::File | EntryKind::HardLink | EntryKind::Symlink | EntryKind::Directory | EntryKind::Fifo => {
                (FileType::Fifo, makedev(0, 0))
            }
        }
    }
}

/// The reader. [`TarReader::next_entry`] passes over data that was not read.
pub struct TarReader<R> {
    inner: R,
    /// Bytes of the current entry's data that are left, and of its padding.
    left: u64,
    padding: u64,
}

impl<R: BufRead> TarReader<R> {
    /// Reads `inner`, which is not compressed.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// The next entry, or the archive's end.
    ///
    /// # Errors
    /// Of the format, and the reader's.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip(self.left)?;
        self.skip_padding()?;
        (self.left, self.padding) = (0, 0);
        let mut pax = Pax::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let Some(block) = self.header()? else { return Ok(None) };
            let header = tar::Header::from_byte_slice(&block);
            match header.as_bytes()[156] {
                b'x' | b'X' => pax = Pax::parse(&self.extension(header)?)?,
                b'g' => {
                    // Docker ignores global records too.
                    self.extension(header)?;
                }
                b'L' => long_name = Some(text(self.extension(header)?)),
                b'K' => long_link = Some(text(self.extension(header)?)),
                _ => return self.entry(header, pax, long_name, long_link).map(Some),
            }
        }
    }

    /// Bytes of the current entry's data that were not read yet.
    #[must_use]
    pub fn data_left(&self) -> u64 {
        self.left
    }

    /// Gives the current entry's data, piece by piece.
    ///
    /// # Errors
    /// The reader's; [`Error::Truncated`]; the sink's.
    pub fn data(&mut self, mut len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        len = len.min(self.left);
        while len > 0 {
            let buf = self.inner.fill_buf()?;
            if buf.is_empty() {
                return Err(Error::Truncated);
            }
            let n = buf.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            sink(&buf[..n])?;
            self.inner.consume(n);
            self.left -= n as u64;
            len -= n as u64;
        }
        Ok(())
    }

    fn skip(&mut self, mut len: u64) -> Result<()> {
        while len > 0 {
            let available = self.inner.fill_buf()?.len();
            if available == 0 {
                return Err(Error::Truncated);
            }
            let n = available.min(usize::try_from(len).unwrap_or(usize::MAX));
            self.inner.consume(n);
            len -= n as u64;
        }
        Ok(())
    }

    /// Passes over the padding, which the archive's last entry may lack: docker's
    /// client sends such a context for `build -f -`, and Go's reader takes it.
    fn skip_padding(&mut self) -> Result<()> {
        let mut len = self.padding;
        while len > 0 {
            let n = (self.inner.fill_buf()?.len() as u64).min(len);
            if n == 0 {
                break;
            }
            self.inner.consume(usize::try_from(n).unwrap_or(usize::MAX));
            len -= n;
        }
        Ok(())
    }

    /// The next header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; 512]>> {
        let mut block = [0; 512];
        if self.inner.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.inner.read_exact(&mut block)?;
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let stored = tar::Header::from_byte_slice(&block).cksum().ok();
        let sum = |add: &dyn Fn(u8) -> i64| -> i64 {
            block.iter().enumerate().map(|(i, b)| add(if (148..156).contains(&i) { b' ' } else { *b })).sum()
        };
        let (unsigned, signed) = (sum(&i64::from), sum(&|b| i64::from(b.cast_signed())));
        match stored.map(i64::from) {
            Some(stored) if stored == unsigned || stored == signed => Ok(Some(block)),
            _ => Err(Error::Malformed("a header's checksum is wrong".into())),
        }
    }

    /// The whole data of an `x`, `g`, `L` or `K` header.
    fn extension(&mut self, header: &tar::Header) -> Result<Vec<u8>> {
        let size = header.entry_size().map_err(|_| Error::Malformed("a header's size is no number".into()))?;
        if size > MAX_EXTENSION {
            return Err(Error::Limit(format!("a header extension of {size} bytes, {MAX_EXTENSION} are allowed")));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.inner.read_exact(&mut data)?;
        self.skip(size.next_multiple_of(512) - size)?;
        Ok(data)
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let path = pax.path.or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |field: &str| Error::Malformed(format!("{:?} has a malformed {field}", show(&path)));
        let flag = header.as_bytes()[156];
        let kind = match kind(flag, &path)? {
            // How archives older than POSIX write a directory.
            EntryKind::File if flag == 0 && path.ends_with(b"/") => EntryKind::Directory,
            kind => kind,
        };
        let has_data = kind == EntryKind::File;
        let size = match pax.size {
            Some(size) => size,
            None => header.entry_size().map_err(|_| bad("size"))?,
        };
        let size = if has_data { size } else { 0 };
        if size > i64::MAX as u64 {
            return Err(bad("size"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(512) - size;
        let link = pax.link.or(long_link).or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        let device = |value: std::io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        let mut entry = Entry {
            kind,
            link: link.unwrap_or_default(),
            mode: number(&header.as_old().mode, || header.mode()).map_err(|_| bad("mode"))? & 0o7777,
            uid: pax.uid.map_or_else(|| number(&header.as_old().uid, || header.uid()), Ok).map_err(|_| bad("uid"))?,
            gid: pax.gid.map_or_else(|| number(&header.as_old().gid, || header.gid()), Ok).map_err(|_| bad("gid"))?,
            size,
            mtime: pax.mtime.unwrap_or_else(|| (header_mtime(header), 0)),
            device: (device(header.device_major()), device(header.device_minor())),
            xattrs: pax.xattrs,
            map: None,
            path,
        };
        if flag == b'S' {
            self.old_sparse(header, &mut entry)?;
        } else if let Some(sparse) = pax.sparse
            && kind == EntryKind::File
        {
            self.pax_sparse(sparse, &mut entry)?;
        }
        Ok(entry)
    }

    /// GNU tar's own sparse entries: the map is in the header and in blocks behind it.
    fn old_sparse(&mut self, header: &tar::Header, entry: &mut Entry) -> Result<()> {
        let bad = || Error::Malformed(format!("{:?} has a malformed sparse map", show(&entry.path)));
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let mut map = Vec::new();
        let add = |map: &mut Vec<Stretch>, list: &[tar::GnuSparseHeader]| -> Result<()> {
            for item in list.iter().filter(|item| !item.is_empty()) {
                let offset = item.offset().map_err(|_| bad())?;
                map.push(Stretch { offset, len: item.length().map_err(|_| bad())? });
            }
            Ok(())
        };
        add(&mut map, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut ext = tar::GnuExtSparseHeader::new();
            self.inner.read_exact(ext.as_mut_bytes())?;
            add(&mut map, ext.sparse())?;
            if map.len() as u64 > MAX_EXTENSION / 4 {
                return Err(Error::Limit(format!("a sparse map with more than {} stretches", map.len())));
            }
            more = ext.is_extended();
        }
        let real = gnu.real_size().map_err(|_| bad())?;
        self.set_map(entry, map, real)
    }

    fn pax_sparse(&mut self, sparse: PaxSparse, entry: &mut Entry) -> Result<()> {
        let mut map = sparse.map;
        if sparse.map_in_data {
            let (in_data, read) = map_from_data(&mut self.inner, self.left)?;
            map = in_data;
            self.left -= read;
        }
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        let real = sparse.real_size.ok_or_else(|| Error::Malformed("sparse file without its size".into()))?;
        self.set_map(entry, map, real)
    }

    fn set_map(&mut self, entry: &mut Entry, map: Vec<Stretch>, real_size: u64) -> Result<()> {
        if real_size > i64::MAX as u64 {
            return Err(Error::Malformed("sparse file of an impossible size".into()));
        }
        check_map(&map, real_size, self.left)?;
        entry.map = Some(map);
        entry.size = real_size;
        Ok(())
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<EntryKind> {
    Ok(match flag {
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => {
            return Err(Error::Unsupported(format!("entry type {:?} of {:?}", char::from(other), show(path))));
        }
    })
}

/// A GNU long name ends with a NUL.
fn text(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|b| *b == 0) {
        data.truncate(end);
    }
    data
}

fn header_mtime(header: &tar::Header) -> i64 {
    header.mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0)
}

/// A number of a header; a field with nothing in it is 0, as Go reads it.
fn number<T: Default>(field: &[u8], read: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(T::default()) } else { read() }
}
