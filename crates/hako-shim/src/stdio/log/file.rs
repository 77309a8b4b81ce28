//! The log's files: `<name>` is the present one, `<name>.1` the one before it,
//! and so on, compressed ones with `.gz` behind that.
//!
//! ```text
//!   full: <name>.1 ─► .2 ─► … ─► removed;  <name> ─► .1;  a new <name>;  .1 ─► .1.gz beside it
//! ```
//!
//! Files are only renamed and removed, never truncated, so that whoever reads
//! one reads it to its end. At no moment is a file's content nowhere: a shim
//! that is killed in between leaves a gap in the numbers at worst.

use super::compress;
use hako_model::LogConfig;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio::sync::oneshot;

/// The present file and what becomes of it.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_files: u32,
    compress: bool,
    /// The time of the last record.
    last: String,
    /// The compression that is under way.
    job: Option<oneshot::Receiver<()>>,
}

impl LogFile {
    pub(super) fn open(path: &Path, config: &LogConfig) -> io::Result<Self> {
        let (file, size) = append(path)?;
        let compress = config.compress && config.max_files > 1;
        let mut log = Self {
            path: path.to_owned(),
            file,
            size,
            max_size: config.max_size,
            max_files: config.max_files,
            compress,
            last: String::new(),
            job: None,
        };
        let first = log.numbered(1, "");
        if compress && first.exists() {
            // A shim that was killed left it.
            log.job = compress::start(first, String::new());
        }
        Ok(log)
    }

    /// Whether the next record belongs into a new file, if so many bytes are
    /// still to be written into this one.
    pub(super) fn is_full_with(&self, pending: usize) -> bool {
        self.max_size.is_some_and(|most| self.size.saturating_add(pending as u64) >= most)
    }

    pub(super) fn last_time(&mut self, time: &str) {
        time.clone_into(&mut self.last);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn numbered(&self, number: u32, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}{suffix}"));
        name.into()
    }

    /// Begins a new file. Where that fails the present one goes on.
    pub(super) async fn rotate(&mut self) -> io::Result<()> {
        if let Some(job) = self.job.take() {
            // Its end; dropped without a word where it failed, which changes nothing.
            let _ = job.await;
        }
        if self.max_files < 2 {
            fs::remove_file(&self.path)?;
        } else {
            self.shift()?;
            fs::rename(&self.path, self.numbered(1, ""))?;
        }
        (self.file, self.size) = append(&self.path)?;
        if self.compress {
            self.job = compress::start(self.numbered(1, ""), std::mem::take(&mut self.last));
        }
        Ok(())
    }

    /// Moves every file before the present one on by one number.
    fn shift(&self) -> io::Result<()> {
        for suffix in ["", ".gz"] {
            absent_is_fine(fs::remove_file(self.numbered(self.max_files - 1, suffix)))?;
        }
        for number in (1..self.max_files - 1).rev() {
            for suffix in ["", ".gz"] {
                absent_is_fine(fs::rename(self.numbered(number, suffix), self.numbered(number + 1, suffix)))?;
            }
        }
        Ok(())
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens a file to append to it. A record that was cut off by a crash gets its
/// end, so that it spoils no other.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_model::LogDriver;

    fn config(path: &Path, size: u64, files: u32, compress: bool) -> LogConfig {
        LogConfig {
            max_size: Some(size),
            max_files: files,
            compress,
            ..LogConfig::plain(LogDriver::JsonFile, Some(path.to_owned()))
        }
    }

    /// Writes the numbers from 1 as lines of four bytes, each in time for a rotation.
    async fn count(log: &mut LogFile, to: u32) {
        for number in 1..=to {
            if log.is_full_with(0) {
                log.rotate().await.unwrap();
            }
            log.write(format!("{number:03}\n").as_bytes()).unwrap();
        }
        if let Some(job) = log.job.take() {
            let _ = job.await;
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn files_move_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, &config(&path, 8, 3, false)).unwrap();
        count(&mut log, 9).await;
        assert_eq!(names(dir.path()), ["log", "log.1", "log.2"]);
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (read("log.2"), read("log.1"), read("log")),
            ("005\n006\n".into(), "007\n008\n".into(), "009\n".into())
        );
    }

    #[tokio::test]
    async fn one_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, &config(&path, 8, 1, false)).unwrap();
        let reader = File::open(&path).unwrap();
        count(&mut log, 3).await;
        assert_eq!(names(dir.path()), ["log"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "003\n");
        assert_eq!(io::read_to_string(reader).unwrap(), "001\n002\n", "who reads the old one reads it to its end");
    }

    #[tokio::test]
    async fn old_files_are_compressed_and_a_killed_shims_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(dir.path().join("log.1"), "left\n").unwrap();
        fs::write(&path, "half a rec").unwrap();
        let mut log = LogFile::open(&path, &config(&path, 8, 4, true)).unwrap();
        count(&mut log, 2).await;
        assert_eq!(names(dir.path()), ["log", "log.1.gz", "log.2.gz"]);
        let read = |name: &str| {
            let file = File::open(dir.path().join(name)).unwrap();
            io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap()
        };
        assert_eq!((read("log.2.gz"), read("log.1.gz")), ("left\n".into(), "half a rec\n".into()));
    }
}
