//! Stdio streams that the host has opened and a process has yet to take.

use hako_model::{Error, Result};
use hako_sandbox::{Stdio, StdioRequest};
use hako_task::{mux::MuxStream, stdio::StdStream};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

/// More than this are not kept waiting.
const MOST: usize = 64;
const CHUNK: usize = 32 * 1024;

/// Container, exec (or empty), which.
type Key = (String, String, StdStream);

/// Streams that wait for their process.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<Key, MuxStream>>);

/// A process's own three.
pub struct Taken {
    stdin: Option<MuxStream>,
    stdout: MuxStream,
    stderr: Option<MuxStream>,
}

impl Streams {
    fn map(&self) -> MutexGuard<'_, HashMap<Key, MuxStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `stream` for a process that Create or Exec will name.
    pub fn offer(&self, id: String, exec_id: String, which: StdStream, stream: MuxStream) {
        self.map().insert((id, exec_id, which), stream);
    }

    /// Why no further stream of this kind is taken, if so.
    pub fn refusal(&self, id: &str, exec_id: &str, which: StdStream) -> Option<String> {
        let map = self.map();
        if map.len() >= MOST {
            return Some("too many streams wait for their process".to_owned());
        }
        let key = (id.to_owned(), exec_id.to_owned(), which);
        map.contains_key(&key).then(|| format!("stream {which:?} of {id:?} {exec_id:?} is open already"))
    }

    /// The streams of one process. All that were opened for it are taken, those
    /// that it must have are required.
    pub fn take(&self, id: &str, exec_id: &str, request: StdioRequest) -> Result<Taken> {
        let mut map = self.map();
        let mut one = |which| map.remove(&(id.to_owned(), exec_id.to_owned(), which));
        let (stdin, stdout, stderr) = (one(StdStream::Stdin), one(StdStream::Stdout), one(StdStream::Stderr));
        let absent = |which| Error::invalid(format!("stream {which} of {id:?} {exec_id:?} was not opened"));
        if request.stdin && stdin.is_none() {
            return Err(absent("stdin"));
        }
        if !request.terminal && stderr.is_none() {
            return Err(absent("stderr"));
        }
        Ok(Taken { stdin, stdout: stdout.ok_or_else(|| absent("stdout"))?, stderr })
    }
}

impl Taken {
    /// Joins the streams with the process's; each runs until its end.
    pub fn join(self, stdio: Stdio) {
        if let (Some(from), Some(to)) = (self.stdin, stdio.stdin) {
            tokio::spawn(feed(from, to));
        }
        if let Some(from) = stdio.stdout {
            tokio::spawn(deliver(from, self.stdout));
        }
        if let (Some(from), Some(to)) = (stdio.stderr, self.stderr) {
            tokio::spawn(deliver(from, to));
        }
    }
}

/// Towards the process. The input closes when the host's stream ends; where
/// the process reads no more, the host's stream is reset by being dropped.
async fn feed(from: MuxStream, mut to: impl AsyncWrite + Unpin) {
    let mut from = BufReader::with_capacity(CHUNK, from);
    if tokio::io::copy_buf(&mut from, &mut to).await.is_ok() {
        // A process that has gone needs no end of input.
        let _ = to.shutdown().await;
    }
}

/// From the process. A host that reads no more does not stop the process: the
/// rest is thrown away.
async fn deliver(from: impl AsyncRead + Unpin, mut to: MuxStream) {
    let mut from = BufReader::with_capacity(CHUNK, from);
    let sent = tokio::io::copy_buf(&mut from, &mut to).await;
    // A broken stream needs no end.
    let _ = to.shutdown().await;
    if sent.is_err() {
        let _ = tokio::io::copy_buf(&mut from, &mut tokio::io::sink()).await;
    }
}
