//! The files of one log: the present one and those before it, which the shim
//! renames, compresses and removes while they are read.

use chrono::{DateTime, Utc};
use flate2::bufread::GzDecoder;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufReader, Read, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// How often the shim may rename files while they are being opened.
const ATTEMPTS: u32 = 20;

/// An open file of the log. What happens to its name does not concern it.
pub struct Piece {
    pub source: Source,
    /// The file in which these records were written; a compressed one names it.
    pub inode: u64,
    /// The time of its last record, where that is known.
    pub last: Option<DateTime<Utc>>,
}

/// Where records are read from.
pub enum Source {
    Plain(File),
    Compressed(Box<GzDecoder<BufReader<File>>>),
}

impl Source {
    /// Back to the first record.
    pub fn rewind(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.rewind(),
            Self::Compressed(decoder) => {
                let mut file = decoder.get_ref().get_ref();
                file.rewind()?;
                **decoder = GzDecoder::new(BufReader::new(file.try_clone()?));
                Ok(())
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Compressed(decoder) => decoder.read(buffer),
        }
    }
}

/// What the shim writes into the head of a compressed file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    inode: u64,
    last_time: String,
}

impl Piece {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        if path.extension().is_none_or(|extension| extension != "gz") {
            return Ok(Self { source: Source::Plain(file), inode, last: None });
        }
        let decoder = GzDecoder::new(BufReader::new(file));
        let head = decoder.header().and_then(|header| serde_json::from_slice::<Head>(header.comment()?).ok());
        let (inode, last) = head.map_or((inode, None), |head| (head.inode, head.last_time.parse().ok()));
        Ok(Self { source: Source::Compressed(Box::new(decoder)), inode, last })
    }
}

/// Opens every file of the log at `path`, the oldest first; the last is the
/// present one, where there is one. They belong together: no record is in two
/// of them, and none between them is missing.
pub fn open_all(path: &Path) -> io::Result<Vec<Piece>> {
    let mut attempt = 1;
    loop {
        let names = names(path)?;
        let opened: io::Result<Vec<Piece>> = names.iter().map(|(_, (path, _))| Piece::open(path)).collect();
        let after = self::names(path)?;
        match opened {
            // Nothing was renamed meanwhile.
            Ok(pieces) if names == after => return Ok(pieces),
            Err(err) if err.kind() != io::ErrorKind::NotFound && names == after => return Err(err),
            Ok(_) | Err(_) if attempt < ATTEMPTS => attempt += 1,
            Ok(_) | Err(_) => return Err(io::Error::other("the log's files change all the time")),
        }
    }
}

/// The inode of the present file, where there is one.
pub fn present(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}

/// By age, the oldest first: the path and its inode. Of a file that is there
/// plain and compressed, which it is for a moment, the plain one.
fn names(path: &Path) -> io::Result<BTreeMap<std::cmp::Reverse<u32>, (PathBuf, u64)>> {
    let mut found = BTreeMap::new();
    let dir = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let Some((number, compressed)) = place(name.as_encoded_bytes(), &entry.file_name()) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        if compressed {
            found.entry(std::cmp::Reverse(number)).or_insert((entry.path(), meta.ino()));
        } else {
            found.insert(std::cmp::Reverse(number), (entry.path(), meta.ino()));
        }
    }
    Ok(found)
}

/// The number of a file of the log, 0 for the present one, and whether it is compressed.
fn place(log: &[u8], name: &OsString) -> Option<(u32, bool)> {
    let rest = name.as_encoded_bytes().strip_prefix(log)?;
    if rest.is_empty() {
        return Some((0, false));
    }
    let rest = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let (number, compressed) = rest.strip_suffix(".gz").map_or((rest, false), |number| (number, true));
    number.parse().ok().filter(|number| *number > 0).map(|number| (number, compressed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_places() {
        let place = |name: &str| super::place(b"x-json.log", &OsString::from(name));
        assert_eq!(place("x-json.log"), Some((0, false)));
        assert_eq!(place("x-json.log.3"), Some((3, false)));
        assert_eq!(place("x-json.log.12.gz"), Some((12, true)));
        for other in ["x-json.log.1.gz.part", "x-json.log.0", "x-json.logs", "scratch.img", "x-json.log.-1"] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
