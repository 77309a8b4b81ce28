//! PAX records, and the maps of sparse files in all the forms that GNU tar has written.

use crate::{Error, Result};
use std::io::Read;

/// One stretch of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub offset: u64,
    pub len: u64,
}

/// What an entry's PAX records say, where they say anything.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<PaxSparse>,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(crate) struct PaxSparse {
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Versions 0.0 and 0.1.
    pub map: Vec<Stretch>,
    /// Version 1.0: the map begins the data.
    pub map_in_data: bool,
    pending_offset: Option<u64>,
}

fn number(value: &[u8], what: &str) -> Result<u64> {
    let text = std::str::from_utf8(value).ok().map(str::trim);
    text.and_then(|t| t.parse().ok()).ok_or_else(|| Error::Malformed(format!("PAX record {what} is no number")))
}

/// `seconds[.fraction]`, perhaps negative.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

impl Pax {
    /// Reads the records of one `x` header: `<length> <key>=<value>\n`, where
    /// the value may hold any byte.
    pub fn parse(mut data: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        let bad = || Error::Malformed("PAX record has a wrong length".into());
        while !data.is_empty() && data[0] != 0 {
            let space = data.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let len = usize::try_from(number(&data[..space], "length")?).map_err(|_| bad())?;
            if len <= space + 1 || len > data.len() || data[len - 1] != b'\n' {
                return Err(bad());
            }
            let record = &data[space + 1..len - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            pax.record(&record[..equals], &record[equals + 1..])?;
            data = &data[len..];
        }
        Ok(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        // An empty value removes the record, as if it had not been there.
        match key {
            b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
            b"linkpath" => self.link = (!value.is_empty()).then(|| value.to_vec()),
            b"size" if !value.is_empty() => self.size = Some(number(value, "size")?),
            b"uid" if !value.is_empty() => self.uid = Some(number(value, "uid")?),
            b"gid" if !value.is_empty() => self.gid = Some(number(value, "gid")?),
            b"mtime" => self.mtime = time(value),
            _ => {
                if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_with(PaxSparse::default).record(name, value)?;
                }
            }
        }
        Ok(())
    }
}

impl PaxSparse {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(number(value, "GNU.sparse.size")?),
            b"major" => self.map_in_data = number(value, "GNU.sparse.major")? >= 1,
            b"offset" => self.pending_offset = Some(number(value, "GNU.sparse.offset")?),
            b"numbytes" => {
                let offset = self.pending_offset.take();
                let offset = offset.ok_or_else(|| Error::Malformed("sparse map without an offset".into()))?;
                self.map.push(Stretch { offset, len: number(value, "GNU.sparse.numbytes")? });
            }
            b"map" => {
                let numbers: Vec<u64> =
                    value.split(|b| *b == b',').map(|n| number(n, "GNU.sparse.map")).collect::<Result<_>>()?;
                self.map = numbers.chunks(2).map(|c| Stretch { offset: c[0], len: *c.get(1).unwrap_or(&0) }).collect();
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the map of version 1.0 from the data: decimal lines, padded to a
/// block. The answer has the number of bytes that were read.
pub(crate) fn map_from_data(reader: &mut impl Read, limit: u64) -> Result<(Vec<Stretch>, u64)> {
    let mut text = Blocks { reader, block: [0; 512], at: 512, read: 0, limit };
    let count = text.line()?;
    if count > crate::MAX_EXTENSION / 4 {
        return Err(Error::Limit(format!("a sparse map with {count} stretches")));
    }
    let mut map = Vec::new();
    for _ in 0..count {
        map.push(Stretch { offset: text.line()?, len: text.line()? });
    }
    Ok((map, text.read))
}

struct Blocks<'a, R> {
    reader: &'a mut R,
    block: [u8; 512],
    at: usize,
    read: u64,
    limit: u64,
}

impl<R: Read> Blocks<'_, R> {
    fn line(&mut self) -> Result<u64> {
        let mut digits = Vec::with_capacity(20);
        loop {
            if self.at == 512 {
                self.read += 512;
                if self.read > self.limit {
                    return Err(Error::Malformed("sparse map is longer than its data".into()));
                }
                self.reader.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return number(&digits, "sparse map");
            }
            if digits.len() == 20 {
                return Err(Error::Malformed("sparse map has a number of more than 20 digits".into()));
            }
            digits.push(byte);
        }
    }
}

/// Checks that the stretches rise, do not overlap, end by `real_size` and
/// together have `data` bytes.
pub(crate) fn check_map(map: &[Stretch], real_size: u64, data: u64) -> Result<()> {
    let bad = || Error::Malformed("sparse map contradicts the entry's size".into());
    let (mut end, mut sum) = (0u64, 0u64);
    for stretch in map {
        if stretch.offset < end {
            return Err(bad());
        }
        end = stretch.offset.checked_add(stretch.len).ok_or_else(bad)?;
        sum += stretch.len;
    }
    if end > real_size || sum != data { Err(bad()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_any_byte() {
        let value = b"\x01\n=\0x";
        let body = [b" SCHILY.xattr.a=".as_slice(), value, b"\n"].concat();
        let record = [format!("{}", body.len() + 2).as_bytes(), &body].concat();
        let pax = Pax::parse(&record).unwrap();
        assert_eq!(pax.xattrs, [(b"a".to_vec(), value.to_vec())]);
        assert!(Pax::parse(b"9 a=b\n").is_err());
        assert!(Pax::parse(b"99999999999999999999 a=b\n").is_err());
        assert!(Pax::parse(b"\xff a=b\n").is_err());
        assert!(Pax::parse(b"0 a=b\n").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"x"), None);
    }

    #[test]
    fn maps_are_checked() {
        let s = |offset, len| Stretch { offset, len };
        assert!(check_map(&[s(0, 1), s(5, 1)], 10, 2).is_ok());
        assert!(check_map(&[s(5, 1), s(0, 1)], 10, 2).is_err());
        assert!(check_map(&[s(0, 1)], 10, 2).is_err());
        assert!(check_map(&[s(u64::MAX, 2)], 10, 2).is_err());
        assert!(check_map(&[s(9, 2)], 10, 2).is_err());
    }
}
