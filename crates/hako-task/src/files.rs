//! A container's files: requests on `stdio.sock` and on streams to the agent.
//!
//! ```text
//! client ── head line ([`FilesRequest`]) ─────────────────────────► server
//!        ◄── [`FilesReply`] line: what was found, or why not ──────
//!        ◄── frames, an empty one, [`FilesEnd`] line ──────────────   (pack, export, layer, changes)
//!        ──► frames, an empty one;  ◄── [`FilesEnd`] line ─────────   (extract)
//! ```
//!
//! A frame is its length as four bytes, big-endian, and its bytes. A stream
//! that ends without its [`FilesEnd`] was cut off. After the last line the
//! server reads on until the client closes, so that no byte is lost.

use crate::stdio::{read_line_within, write_line};
use hako_model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// The longest line of this protocol: it carries a path, escaped.
pub const MAX_LINE: usize = 64 << 10;
/// The longest frame.
pub const MAX_FRAME: usize = 256 << 10;
/// How much of an error's text is kept; it may come from a guest.
const MAX_ERROR: usize = 4096;

/// What is wanted of a container's files. Paths are the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum FilesRequest {
    /// What lies at a path; nothing follows the reply.
    Stat {
        /// The path.
        path: String,
    },
    /// A tar of what lies at a path, mounts included.
    Pack {
        /// The path.
        path: String,
    },
    /// Unpacks a tar, not compressed, below a directory.
    Extract {
        /// The directory.
        path: String,
        /// A directory is not replaced by something else, nor the other way round.
        no_overwrite_dir_non_dir: bool,
        /// `user[:group]` that gets everything; without it the archive says whose it is.
        owner: Option<String>,
    },
    /// A tar of the root filesystem without what is mounted in it.
    Export,
    /// What differs from the image: one [`Change`] a line.
    Changes {
        /// Mount points that the engine makes: not shown while nothing is in them.
        hidden: Vec<String>,
    },
    /// The same as a layer's tar, with OCI whiteouts.
    Layer {
        /// As of `Changes`.
        hidden: Vec<String>,
    },
}

/// The server's first line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FilesReply {
    /// Absent where the request is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<FilesError>,
    /// Of `Stat` and `Pack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<PathStat>,
}

/// The server's last line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FilesEnd {
    /// Absent where all went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<FilesError>,
}

/// An error with its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilesError {
    /// The kind.
    pub kind: ErrorKind,
    /// The text.
    pub message: String,
}

impl From<Error> for FilesError {
    fn from(err: Error) -> Self {
        Self { kind: err.kind, message: err.message.chars().take(MAX_ERROR).collect() }
    }
}

impl From<FilesError> for Error {
    /// The text may be a guest's.
    fn from(err: FilesError) -> Self {
        let shown = err.message.chars().filter(|c| !c.is_control()).take(MAX_ERROR);
        Self::new(err.kind, shown.collect::<String>())
    }
}

/// Docker's `ContainerPathStat`, in its own names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// The last component of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `FileMode`.
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    /// Of a link: where it leads to, all links followed.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// One change, in Docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Absolute.
    #[serde(rename = "Path")]
    pub path: String,
    /// 0 changed, 1 added, 2 deleted.
    #[serde(rename = "Kind")]
    pub kind: u8,
}

/// Writes frames; what is written is held until a frame is full.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    frame: Vec<u8>,
}

const HEAD: usize = 4;

impl<W: Write> FrameWriter<W> {
    /// Frames to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, frame: vec![0; HEAD] }
    }

    fn send(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.frame.len() - HEAD).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.frame[..HEAD].copy_from_slice(&len.to_be_bytes());
        self.inner.write_all(&self.frame)?;
        self.frame.truncate(HEAD);
        Ok(())
    }

    /// Sends what is held, and the empty frame.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(mut self) -> io::Result<W> {
        self.flush()?;
        self.send()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(MAX_FRAME + HEAD - self.frame.len());
        self.frame.extend_from_slice(&bytes[..n]);
        if self.frame.len() == MAX_FRAME + HEAD {
            self.send()?;
        }
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.frame.len() > HEAD { self.send() } else { Ok(()) }
    }
}

/// Reads frames to the empty one, which is the end.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    left: usize,
    ended: bool,
}

impl<R: Read> FrameReader<R> {
    /// Frames from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, ended: false }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if self.ended {
                return Ok(0);
            }
            let mut head = [0; HEAD];
            self.inner.read_exact(&mut head)?;
            self.left = frame_len(head)?;
            self.ended = self.left == 0;
        }
        let most = into.len().min(self.left);
        let n = self.inner.read(&mut into[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n;
        Ok(n)
    }
}

fn frame_len(head: [u8; HEAD]) -> io::Result<usize> {
    let len = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if len > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    Ok(len)
}

/// The next frame; `None` is the end, behind which the [`FilesEnd`] line comes.
///
/// # Errors
/// The reader's; `InvalidData` for a frame that is too long.
pub async fn next_frame(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    io.read_exact(&mut head).await?;
    let mut frame = vec![0; frame_len(head)?];
    io.read_exact(&mut frame).await?;
    Ok((!frame.is_empty()).then_some(frame))
}

/// The error of a stream that broke off.
#[must_use]
pub fn broken(err: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the container's files are out of reach: {err}"))
}

/// Reads the server's first line.
///
/// # Errors
/// The server's, or that the stream broke off.
pub async fn read_reply(io: &mut (impl AsyncRead + Unpin)) -> Result<FilesReply> {
    let reply: FilesReply = read_line_within(io, MAX_LINE).await.map_err(|err| broken(&err))?;
    match reply.error {
        None => Ok(reply),
        Some(err) => Err(err.into()),
    }
}

/// Reads the server's last line.
///
/// # Errors
/// As [`read_reply`].
pub async fn read_end(io: &mut (impl AsyncRead + Unpin)) -> Result<()> {
    let end: FilesEnd = read_line_within(io, MAX_LINE).await.map_err(|err| broken(&err))?;
    end.error.map_or(Ok(()), |err| Err(err.into()))
}

/// [`read_end`] for a blocking stream.
///
/// # Errors
/// As [`read_end`].
pub fn read_end_blocking(io: &mut impl Read) -> Result<()> {
    let mut line = Vec::with_capacity(128);
    loop {
        let mut byte = [0];
        io.read_exact(&mut byte).map_err(|err| broken(&err))?;
        match byte {
            [b'\n'] => break,
            _ if line.len() == MAX_LINE => return Err(broken(&io::ErrorKind::InvalidData.into())),
            [byte] => line.push(byte),
        }
    }
    let end: FilesEnd = serde_json::from_slice(&line).map_err(|err| broken(&err.into()))?;
    end.error.map_or(Ok(()), |err| Err(err.into()))
}

/// Refuses a request.
///
/// # Errors
/// The writer's.
pub async fn refuse(io: &mut (impl AsyncWrite + Unpin), err: Error) -> io::Result<()> {
    write_line(io, &FilesReply { error: Some(err.into()), stat: None }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_any_length() {
        let data: Vec<u8> = (0..MAX_FRAME * 2 + 77).map(|n| n as u8).collect();
        let mut writer = FrameWriter::new(Vec::new());
        for piece in data.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        let mut bytes = writer.end().unwrap();
        bytes.extend_from_slice(b"rest");
        let mut reader = FrameReader::new(bytes.as_slice());
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        assert_eq!(back, data);
        assert_eq!(reader.inner, b"rest");
        let mut cut = FrameReader::new(&bytes[..100]);
        assert_eq!(cut.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(FrameReader::new(&[0xff; 8][..]).read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_guests_error_is_text_only() {
        let err: Error = FilesError { kind: ErrorKind::NotFound, message: "\x1b[2Jgone\n".to_owned() }.into();
        assert_eq!((err.kind, err.message.as_str()), (ErrorKind::NotFound, "[2Jgone"));
    }
}
