//! Records of a log, one object a line, over all of its files.
//!
//! ```text
//!   oldest ─► … ─► present ─► (end for now) ── catch_up: it was renamed ─► its rest ─► the newer ones
//! ```

use super::files::{self, Piece, Source};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// One record.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The text, usually with its line feed.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Labels, variables and a tag that the driver was asked to add.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// When.
    pub time: DateTime<Utc>,
}

const BLOCK: usize = 64 << 10;

/// Reads records as they come.
pub struct Reader {
    path: PathBuf,
    now: Option<Records>,
    later: VecDeque<Records>,
}

impl Reader {
    /// Opens the log at its beginning, or at its last `tail` lines. Files whose
    /// last record is before `since` are left out. A log that is not there is empty.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path, tail: Option<usize>, since: Option<DateTime<Utc>>) -> io::Result<Self> {
        let mut left = tail;
        let mut chosen = VecDeque::new();
        for piece in files::open_all(path)?.into_iter().rev() {
            let old = piece.last.zip(since).is_some_and(|(last, since)| last < since);
            if old || (left == Some(0) && !chosen.is_empty()) {
                continue;
            }
            let mut records = Records::new(piece);
            if let Some(left) = &mut left {
                *left -= records.skip_to_tail(*left)?;
            }
            chosen.push_front(records);
        }
        Ok(Self { path: path.to_owned(), now: None, later: chosen })
    }

    /// The next record; `None` at what is the end for now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(now) = &mut self.now
                && let Some(line) = now.next()?
            {
                return Ok(Some(line));
            }
            match self.later.pop_front() {
                Some(next) => self.now = Some(next),
                None => return Ok(None),
            }
        }
    }

    /// To be called at the end for now: whether the file that is being read has
    /// been renamed, so that there is more in newer ones. What was written to it
    /// until then comes first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn catch_up(&mut self) -> io::Result<bool> {
        let read = self.now.as_ref().map(|now| now.inode);
        match files::present(&self.path) {
            // Being renamed at this moment, or not there yet.
            None => return Ok(false),
            present if present == read => return Ok(false),
            Some(_) => {}
        }
        let mut pieces = files::open_all(&self.path)?;
        // The newest of that name: an inode is given again only after its file is gone.
        if let Some(at) = pieces.iter().rposition(|piece| Some(piece.inode) == read) {
            pieces.drain(..=at);
        }
        self.later = pieces.into_iter().map(Records::new).collect();
        Ok(!self.later.is_empty())
    }
}

/// Records of one file. A line that is not whole yet stays for later.
struct Records {
    source: Source,
    inode: u64,
    buffer: Vec<u8>,
    start: usize,
    /// Records that are passed over first.
    skip: usize,
}

impl Records {
    fn new(piece: Piece) -> Self {
        Self { source: piece.source, inode: piece.inode, buffer: Vec::new(), start: 0, skip: 0 }
    }

    /// Passes over everything but the last `lines` records; answers how many are left.
    fn skip_to_tail(&mut self, lines: usize) -> io::Result<usize> {
        if let Source::Plain(file) = &mut self.source {
            let (at, found) = tail_offset(file, lines)?;
            file.seek(SeekFrom::Start(at))?;
            return Ok(found);
        }
        // A compressed file cannot be read backwards: it is read twice.
        let mut count = 0;
        while self.line()?.is_some() {
            count += 1;
        }
        self.source.rewind()?;
        (self.buffer, self.start) = (Vec::new(), 0);
        self.skip = count - count.min(lines);
        Ok(count.min(lines))
    }

    /// Lines that are no records (of a disk that was full, of a shim that was
    /// killed) are left out.
    fn next(&mut self) -> io::Result<Option<Line>> {
        while let Some((from, to)) = self.line()? {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            match serde_json::from_slice(&self.buffer[from..to]) {
                Ok(line) => return Ok(Some(line)),
                Err(err) => tracing::debug!("log line: {err}"),
            }
        }
        Ok(None)
    }

    /// The bounds of the next whole line in the buffer.
    fn line(&mut self) -> io::Result<Option<(usize, usize)>> {
        loop {
            let pending = &self.buffer[self.start..];
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let from = self.start;
                self.start += end + 1;
                return Ok(Some((from, from + end)));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + BLOCK, 0);
            let read = self.source.read(&mut self.buffer[old..]);
            let read = match (read, &self.source) {
                // What a broken file still gives is all that there is of it.
                (Err(err), Source::Compressed(_)) => {
                    tracing::warn!("compressed log: {err}");
                    0
                }
                (read, _) => read?,
            };
            self.buffer.truncate(old + read);
            if read == 0 {
                self.buffer.shrink_to(BLOCK);
                return Ok(None);
            }
        }
    }
}

/// Where the last `lines` whole lines begin, and how many they are.
fn tail_offset(file: &mut std::fs::File, lines: usize) -> io::Result<(u64, usize)> {
    let mut at = file.seek(SeekFrom::End(0))?;
    if lines == 0 || at == 0 {
        return Ok((at, 0));
    }
    // The line feed that ends the last line is not counted.
    let mut found = 0;
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = at.min(BLOCK as u64);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let block = &mut block[..usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact(block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if found == lines {
                return Ok((at + index as u64 + 1, lines));
            }
            found += 1;
        }
    }
    Ok((0, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder};
    use std::{fs, io::Write, ops::Range, os::unix::fs::MetadataExt};

    fn records(numbers: Range<u32>) -> String {
        let line = |n| {
            format!(
                "{{\"log\":\"line {n} {}\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-02T03:04:05.6Z\"}}\n",
                "x".repeat(50)
            )
        };
        numbers.map(line).collect()
    }

    fn read(reader: &mut Reader) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            found.push(line.log.split(' ').nth(1).unwrap().parse().unwrap());
        }
        found
    }

    /// As the shim does it.
    fn compress(path: &Path) {
        let inode = fs::metadata(path).unwrap().ino();
        let to = fs::File::create(path.with_extension("1.gz")).unwrap();
        let head = format!("{{\"inode\":{inode},\"lastTime\":\"2024-01-02T03:04:05.6Z\"}}");
        let mut encoder = GzBuilder::new().comment(head).write(to, Compression::fast());
        encoder.write_all(&fs::read(path).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn tails_over_files_and_compressed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(dir.path().join("log.1"), records(0..1000)).unwrap();
        compress(&dir.path().join("log.1"));
        fs::rename(dir.path().join("log.1.gz"), dir.path().join("log.2.gz")).unwrap();
        fs::write(dir.path().join("log.1"), records(1000..2500)).unwrap();
        fs::write(dir.path().join("log.1.gz.part"), "half").unwrap();
        fs::write(&path, records(2500..3000)).unwrap();
        for tail in [None, Some(0), Some(1), Some(500), Some(501), Some(2000), Some(2001), Some(2500), Some(9999)] {
            let mut reader = Reader::open(&path, tail, None).unwrap();
            let first = 3000 - u32::try_from(tail.unwrap_or(3000).min(3000)).unwrap();
            assert_eq!(read(&mut reader), (first..3000).collect::<Vec<_>>(), "{tail:?}");
        }
        let late = "2025-01-01T00:00:00Z".parse().ok();
        assert_eq!(read(&mut Reader::open(&path, None, late).unwrap()).len(), 2000, "the compressed one is too old");
        assert_eq!(read(&mut Reader::open(&dir.path().join("none"), None, None).unwrap()).len(), 0);
    }

    /// Rotated several times and compressed while a follower looks away.
    #[test]
    fn follows_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let one = dir.path().join("log.1");
        fs::write(&path, records(0..10)).unwrap();
        let mut reader = Reader::open(&path, None, None).unwrap();
        assert_eq!(read(&mut reader).len(), 10);
        assert!(!reader.catch_up().unwrap());
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(records(10..12).as_bytes()).unwrap();
        fs::rename(&path, &one).unwrap();
        assert!(!reader.catch_up().unwrap(), "in the middle of a rotation");
        compress(&one);
        fs::rename(dir.path().join("log.1.gz"), dir.path().join("log.2.gz")).unwrap();
        fs::write(&one, records(12..20)).unwrap();
        fs::write(&path, records(20..21)).unwrap();
        assert!(reader.catch_up().unwrap());
        assert_eq!(read(&mut reader), (10..21).collect::<Vec<_>>());
        assert!(!reader.catch_up().unwrap());
    }

    #[test]
    fn half_a_record_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, format!("{}{{\"log\":\"hal\n{}", records(0..1), records(1..2))).unwrap();
        assert_eq!(read(&mut Reader::open(&path, None, None).unwrap()), [0, 1]);
    }
}
