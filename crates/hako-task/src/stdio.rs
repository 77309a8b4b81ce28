//! The stdio socket of a shim, and the heads of the streams between shim and agent.
//!
//! A client of `stdio.sock` sends one [`AttachRequest`] as a JSON line and gets
//! one [`AttachReply`] line. Then, towards the client: Docker's multiplexed
//! stream (8-byte heads) without a tty, raw bytes with one, until the process's
//! output ends. Towards the shim: stdin's bytes; a half-closed connection
//! (`shutdown(SHUT_WR)`) is stdin's end where the process wants that
//! (`stdin_once`, or an exec).

use crate::files::FilesRequest;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head line that is read.
pub const MAX_HEAD: usize = 4096;

/// The first line of a client of `stdio.sock`: a member of its own tells a
/// request for files from one for streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClientHead {
    /// The container's files, see [`crate::files`].
    Files {
        /// What is wanted of them.
        files: FilesRequest,
    },
    /// The streams of a process.
    Attach(AttachRequest),
}

/// What a client of `stdio.sock` wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The exec, or empty for the container's first process.
    #[serde(default)]
    pub exec_id: String,
    /// The client will send stdin.
    pub stdin: bool,
    /// The client wants stdout.
    pub stdout: bool,
    /// The client wants stderr.
    pub stderr: bool,
}

/// The shim's answer: attached, or why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachReply {
    /// Absent when attached.
    pub error: Option<String>,
}

/// The first line of every multiplexed stream that the shim opens to the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamHead {
    /// The one ttrpc connection (Task and Extra).
    Ttrpc,
    /// One stdio stream of a process that Create or Exec will name. Opened and
    /// acknowledged (see [`Ack`]) before that request is sent.
    Stdio {
        /// The container.
        id: String,
        /// The exec, or empty.
        exec_id: String,
        /// Which; with a tty, `stdout` carries the tty's output.
        stream: StdStream,
    },
    /// A request on a container's files; behind the [`Ack`] it goes on as
    /// [`crate::files`] has it.
    Files {
        /// The container.
        id: String,
        /// What is wanted.
        request: FilesRequest,
    },
    /// Frames of a network interface that a Network request will name. Opened
    /// and acknowledged before that request is sent. Both ways: the length of
    /// a frame in four bytes, the highest first, then the frame with its
    /// `virtio_net_hdr_mrg_rxbuf`.
    Frames {
        /// The interface's name in the container.
        name: String,
    },
}

/// The agent's line in answer to a [`StreamHead`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack {
    /// Absent when accepted.
    pub error: Option<String>,
}

/// One of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdStream {
    /// Towards the process.
    Stdin,
    /// From the process.
    Stdout,
    /// From the process; absent with a tty.
    Stderr,
}

impl StdStream {
    /// Docker's number for it in the multiplexed stream's head.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// The size of a frame's head.
pub const FRAME_HEAD: usize = 8;

/// The 8-byte head of a frame of Docker's multiplexed stream.
#[must_use]
pub fn frame_head(stream: StdStream, len: u32) -> [u8; FRAME_HEAD] {
    let n = len.to_be_bytes();
    [stream.number(), 0, 0, 0, n[0], n[1], n[2], n[3]]
}

/// Reads one JSON line byte by byte, so that nothing behind it is swallowed.
///
/// # Errors
/// `UnexpectedEof` before the line's end, `InvalidData` for a line over
/// [`MAX_HEAD`] or of another shape.
pub async fn read_line<T: serde::de::DeserializeOwned>(io: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    read_line_within(io, MAX_HEAD).await
}

/// [`read_line`] with another limit.
///
/// # Errors
/// As [`read_line`].
pub async fn read_line_within<T: serde::de::DeserializeOwned>(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<T> {
    let mut line = Vec::with_capacity(128);
    loop {
        let byte = io.read_u8().await?;
        if byte == b'\n' {
            break;
        }
        if line.len() == limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "head line too long"));
        }
        line.push(byte);
    }
    serde_json::from_slice(&line).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

/// Writes `value` as one JSON line.
///
/// # Errors
/// The writer's.
pub async fn write_line<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    io.write_all(&line).await?;
    io.flush().await
}
