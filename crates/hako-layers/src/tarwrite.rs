//! Writes a tar as a stream: ustar, with PAX records for what that does not
//! hold. The `tar` crate encodes the fields; the framing is here, because that
//! crate writes no sparse files and no attributes.

use crate::{pax::Stretch, tarread::EntryKind};
use std::io::{self, Write};

/// What fits the octal digits of the fields for ids and for sizes.
const MOST_ID: u64 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;
/// Bytes of the fields for names.
const NAME: usize = 100;
const BLOCK: u64 = 512;

/// One entry's head.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head<'a> {
    /// A directory's ends with a slash.
    pub path: &'a [u8],
    /// Of links.
    pub link: &'a [u8],
    /// `None` is a file.
    pub kind: Option<EntryKind>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a file's data, holes included.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    pub device: (u32, u32),
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Where a file with holes has data.
    pub map: Option<&'a [Stretch]>,
}

/// The writer.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
    /// Bytes until the current entry's data is complete.
    left: u64,
    padding: u64,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, left: 0, padding: 0 }
    }

    /// Begins an entry. All data of the one before must have been written.
    pub fn entry(&mut self, head: &Head<'_>) -> io::Result<()> {
        debug_assert_eq!(self.left, 0, "the entry before lacks data");
        let mut records = Records(Vec::new());
        let kind = head.kind.unwrap_or(EntryKind::File);
        let map = head.map.map(encode_map);
        let (stored, data) = match (&map, head.map) {
            (Some(text), Some(map)) => {
                records.add(b"GNU.sparse.major", b"1");
                records.add(b"GNU.sparse.minor", b"0");
                records.add(b"GNU.sparse.name", head.path);
                records.number(b"GNU.sparse.realsize", head.size);
                (sparse_name(head.path), text.len() as u64 + map.iter().map(|s| s.len).sum::<u64>())
            }
            _ => (head.path.to_vec(), if kind == EntryKind::File { head.size } else { 0 }),
        };
        for (name, value) in head.xattrs {
            records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        let block = header(head, kind, &stored, data, &mut records);
        if !records.0.is_empty() {
            self.pax(&records.0)?;
        }
        self.out.write_all(&block)?;
        self.left = data;
        self.padding = data.next_multiple_of(BLOCK) - data;
        match map {
            Some(text) => self.data(&text),
            None => self.pad(),
        }
    }

    /// Writes data of the current entry; what is beyond its size is dropped.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.out.write_all(&bytes[..n])?;
        self.left -= n as u64;
        self.pad()
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.left > 0 || self.padding == 0 {
            return Ok(());
        }
        let padding = usize::try_from(self.padding).unwrap_or(0);
        self.padding = 0;
        self.out.write_all(&[0; BLOCK as usize][..padding])
    }

    fn pax(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.as_mut_bytes()[..10].copy_from_slice(b"PaxHeaders");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        let padding = records.len().next_multiple_of(BLOCK as usize) - records.len();
        self.out.write_all(&[0; BLOCK as usize][..padding])
    }
}

/// PAX records.
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + digits(len) {
            len = rest + digits(len);
        }
        self.0.extend_from_slice(len.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn number(&mut self, key: &[u8], value: u64) {
        self.add(key, value.to_string().as_bytes());
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// The block of an entry; what it does not hold goes to the records.
fn header(head: &Head<'_>, kind: EntryKind, path: &[u8], size: u64, records: &mut Records) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    name(header.as_mut_bytes(), 0, path, b"path", records);
    name(header.as_mut_bytes(), 157, head.link, b"linkpath", records);
    header.as_mut_bytes()[156] = match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    let mut fit = |key: &[u8], value: u64, most: u64| {
        if value <= most {
            return value;
        }
        records.number(key, value);
        0
    };
    header.set_mode(head.mode & 0o7777);
    header.set_uid(fit(b"uid", head.uid.into(), MOST_ID));
    header.set_gid(fit(b"gid", head.gid.into(), MOST_ID));
    header.set_size(fit(b"size", size, MOST_SIZE));
    match u64::try_from(head.mtime) {
        Ok(time) if time <= MOST_SIZE => header.set_mtime(time),
        _ => {
            header.set_mtime(0);
            records.add(b"mtime", head.mtime.to_string().as_bytes());
        }
    }
    // A ustar header has both fields, and a device's numbers are 12 and 20 bits.
    let _ = header.set_device_major(head.device.0).and_then(|()| header.set_device_minor(head.device.1));
    header.set_cksum();
    *header.as_bytes()
}

fn name(block: &mut [u8; 512], at: usize, name: &[u8], key: &[u8], records: &mut Records) {
    let fits = name.len().min(NAME);
    block[at..at + fits].copy_from_slice(&name[..fits]);
    if name.len() > NAME {
        records.add(key, name);
    }
}

/// The map of a sparse file in GNU's version 1.0, as it begins the data.
fn encode_map(map: &[Stretch]) -> Vec<u8> {
    let mut text = format!("{}\n", map.len()).into_bytes();
    for stretch in map {
        text.extend_from_slice(format!("{}\n{}\n", stretch.offset, stretch.len).as_bytes());
    }
    text.resize(text.len().next_multiple_of(BLOCK as usize), 0);
    text
}

/// What a reader that knows no sparse files calls one.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let (dir, base) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => path.split_at(slash + 1),
        None => (&b""[..], path),
    };
    [dir, b"GNUSparseFile.0/", base].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarread::TarReader;

    #[test]
    fn what_is_written_is_read_back() {
        let long = vec![b'n'; 300];
        let xattrs = vec![(b"user.x".to_vec(), b"\0\n=".to_vec())];
        let mut tar = TarWriter::new(Vec::new());
        let head = Head {
            path: &long,
            mode: 0o4755,
            uid: u32::MAX - 1,
            gid: 7,
            size: 3,
            mtime: -5,
            xattrs: &xattrs,
            ..Head::default()
        };
        tar.entry(&head).unwrap();
        tar.data(b"abc").unwrap();
        let link = Head { path: b"l", link: &long, kind: Some(EntryKind::Symlink), ..Head::default() };
        tar.entry(&link).unwrap();
        let device = Head { path: b"d", kind: Some(EntryKind::BlockDevice), device: (8, 300), ..Head::default() };
        tar.entry(&device).unwrap();
        let bytes = tar.finish().unwrap();
        let mut reader = TarReader::new(bytes.as_slice());
        let file = reader.next_entry().unwrap().unwrap();
        assert_eq!((file.path, file.mode, file.uid, file.gid), (long.clone(), 0o4755, u64::from(u32::MAX) - 1, 7));
        assert_eq!((file.size, file.mtime, file.xattrs), (3, (-5, 0), xattrs));
        let link = reader.next_entry().unwrap().unwrap();
        assert_eq!((link.kind, link.link), (EntryKind::Symlink, long));
        assert_eq!(reader.next_entry().unwrap().unwrap().device, (8, 300));
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn holes_are_not_written() {
        let map = [Stretch { offset: 1 << 33, len: 4 }, Stretch { offset: (1 << 33) + 4096, len: 0 }];
        let mut tar = TarWriter::new(Vec::new());
        let size = (1 << 33) + 4096;
        tar.entry(&Head { path: b"a/b", size, map: Some(&map), ..Head::default() }).unwrap();
        tar.data(b"data").unwrap();
        let bytes = tar.finish().unwrap();
        assert!(bytes.len() < 8192);
        let mut reader = TarReader::new(bytes.as_slice());
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.size), (&b"a/b"[..], size));
        assert_eq!(entry.map.as_deref(), Some(&map[..]));
        let mut data = Vec::new();
        reader
            .data(4, &mut |piece| {
                data.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(data, b"data");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for len in [1, 90, 91, 92, 93, 94, 95, 96, 97, 98, 990, 991, 992, 993, 994, 995] {
            let mut records = Records(Vec::new());
            records.add(b"k", &vec![b'v'; len]);
            let text = String::from_utf8(records.0).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), text.len());
        }
    }
}
