//! The json-file log: one object a line, written by the shim.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// One record.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The text, usually with its line feed.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When.
    pub time: DateTime<Utc>,
}

/// Reads records as they come. A line that is not whole yet stays for later.
pub struct Reader {
    file: File,
    buffer: Vec<u8>,
    start: usize,
}

const BLOCK: usize = 64 << 10;

impl Reader {
    /// Opens the log, at its beginning or at its last `tail` lines.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path, tail: Option<usize>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if let Some(lines) = tail {
            let at = tail_offset(&mut file, lines)?;
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(Self { file, buffer: Vec::new(), start: 0 })
    }

    /// The next record; `None` at what is the end for now. Lines that are no
    /// records (a disk that was full) are skipped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let pending = &self.buffer[self.start..];
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line = serde_json::from_slice(&pending[..end]);
                self.start += end + 1;
                match line {
                    Ok(line) => return Ok(Some(line)),
                    Err(err) => tracing::debug!("log line: {err}"),
                }
                continue;
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + BLOCK, 0);
            let n = self.file.read(&mut self.buffer[old..])?;
            self.buffer.truncate(old + n);
            if n == 0 {
                self.buffer.shrink_to(BLOCK);
                return Ok(None);
            }
        }
    }
}

/// Where the last `lines` whole lines begin.
fn tail_offset(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut at = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(at);
    }
    // The line feed that ends the last line is not counted.
    let mut left = lines + 1;
    let mut block = vec![0; BLOCK];
    while at > 0 {
        let size = at.min(BLOCK as u64);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let block = &mut block[..usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact(block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            left -= 1;
            if left == 0 {
                return Ok(at + index as u64 + 1);
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn tails() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for n in 0..3000 {
            writeln!(
                file,
                r#"{{"log":"line {n} {}\n","stream":"stdout","time":"2024-01-02T03:04:05.6Z"}}"#,
                "x".repeat(50)
            )
            .unwrap();
        }
        let count = |tail| {
            let mut reader = Reader::open(file.path(), tail).unwrap();
            let mut n = 0;
            while reader.next().unwrap().is_some() {
                n += 1;
            }
            n
        };
        assert_eq!(
            (count(None), count(Some(0)), count(Some(1)), count(Some(2500)), count(Some(9999))),
            (3000, 0, 1, 2500, 3000)
        );
    }
}
