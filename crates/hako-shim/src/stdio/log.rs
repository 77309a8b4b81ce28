//! A container's log: lines become records, records go to files that rotate.
//!
//! ```text
//!   blocking:      pump ──► Lines ──► Writer ──► LogFile (──► compress, on a thread of its own)
//!   non-blocking:  pump ──► Lines ──► Ring ──► (thread) Writer ──► LogFile
//! ```
//!
//! A log that is slow slows the container, unless it was asked to lose output
//! instead (`mode=non-blocking`).

mod compress;
mod entry;
mod file;
mod ring;

use entry::{Lines, encode};
use file::LogFile;
use hako_model::{Error, LogConfig, LogDriver, Result};
use hako_task::stdio::StdStream;
use ring::Ring;
use std::io;
use tokio::sync::Mutex;

/// What the encoder's buffer keeps between writes.
const KEEP: usize = 64 << 10;

/// The log of one container.
pub(crate) struct Log(Kind);

enum Kind {
    Direct(Mutex<Direct>),
    Behind(Mutex<Lines>, Ring),
}

struct Direct {
    lines: Lines,
    writer: Writer,
}

impl Log {
    /// Opens what `config` says; `None` where nothing is kept.
    pub(crate) fn open(config: &LogConfig) -> Result<Option<Self>> {
        let path = match (config.driver, &config.path) {
            (LogDriver::None, _) => return Ok(None),
            (LogDriver::JsonFile | LogDriver::Local, None) => {
                return Err(Error::invalid("this log driver needs a path"));
            }
            (LogDriver::JsonFile | LogDriver::Local, Some(path)) => path,
        };
        let named = |err: io::Error| Error::internal(format!("open log {}: {err}", path.display()));
        let file = LogFile::open(path, config).map_err(named)?;
        let writer = Writer { file, attributes: entry::attributes(&config.attributes), encoded: Vec::new() };
        let lines = Lines::default();
        Ok(Some(Self(match config.buffer {
            None => Kind::Direct(Mutex::new(Direct { lines, writer })),
            Some(room) => Kind::Behind(Mutex::new(lines), Ring::start(room, writer).map_err(named)?),
        })))
    }

    /// Writes what has come from `stream`.
    pub(crate) async fn write(&self, stream: StdStream, mut data: &[u8]) -> io::Result<()> {
        let time = entry::now();
        match &self.0 {
            Kind::Direct(direct) => {
                let mut direct = direct.lock().await;
                let Direct { lines, writer } = &mut *direct;
                let mut result = Ok(());
                while let Some(line) = lines.next(stream, &mut data) {
                    result = result.and(writer.add(stream, &line, &time).await);
                }
                result.and(writer.flush())
            }
            Kind::Behind(lines, ring) => {
                let mut lines = lines.lock().await;
                while let Some(line) = lines.next(stream, &mut data) {
                    ring.push(stream, line.into_owned(), &time);
                }
                ring.failure()
            }
        }
    }

    /// The stream has ended: what is left of its last line is a record without
    /// a newline. Returns once everything is in the file.
    pub(crate) async fn end(&self, stream: StdStream) -> io::Result<()> {
        let time = entry::now();
        match &self.0 {
            Kind::Direct(direct) => {
                let mut direct = direct.lock().await;
                let Direct { lines, writer } = &mut *direct;
                let mut result = Ok(());
                if let Some(rest) = lines.rest(stream) {
                    result = writer.add(stream, &rest, &time).await;
                }
                result.and(writer.flush())
            }
            Kind::Behind(lines, ring) => {
                if let Some(rest) = lines.lock().await.rest(stream) {
                    ring.push(stream, rest, &time);
                }
                ring.drained().await;
                ring.failure()
            }
        }
    }
}

/// Encodes records and puts them into the file, many in one write.
struct Writer {
    file: LogFile,
    attributes: String,
    encoded: Vec<u8>,
}

impl Writer {
    /// Adds a record, also where it cannot have a new file. It is in the file
    /// after the next flush at the latest.
    async fn add(&mut self, stream: StdStream, line: &[u8], time: &str) -> io::Result<()> {
        let mut result = Ok(());
        if self.file.is_full_with(self.encoded.len()) {
            result = self.flush();
            result = result.and(self.file.rotate().await);
        }
        encode(&mut self.encoded, line, stream, &self.attributes, time);
        self.file.last_time(time);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write(&self.encoded);
        self.encoded.clear();
        self.encoded.shrink_to(KEEP);
        written
    }
}
