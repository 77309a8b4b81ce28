//! `GET /containers/{id}/logs`. The shim writes the log, so it is whole even
//! for the time that the engine was not there.

mod files;
pub mod options;
mod reader;
mod tag;

use super::{actor::View, record::Record};
use crate::{
    Engine,
    http::{
        Request, Response,
        hijack::{Output, content_type},
        streaming,
    },
};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{Stream, StreamExt};
use hako_api::time::parse_query;
use hako_model::{Error, Result};
use hako_task::stdio::{AttachRequest, StdStream, frame_head};
use inotify::{Event, Inotify, WatchMask};
use reader::{Line, Reader};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// How often a log is looked at where the kernel does not tell of changes, and
/// while its file is being replaced.
const POLL: Duration = Duration::from_millis(50);

struct Options {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
    tty: bool,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    tail: Option<usize>,
}

/// Streams the log.
pub async fn serve(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let container = engine.containers.find(&req.param)?;
    let query = &req.query;
    let view = container.view();
    let options = Options {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tty: view.record.config.tty,
        since: parse_query("since", query.get("since"))?,
        until: parse_query("until", query.get("until"))?,
        // What is no number is all, as with dockerd.
        tail: query.get("tail").parse().ok(),
    };
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let Some(path) = options::path(engine, &view.record) else {
        return Err(Error::new(
            hako_model::ErrorKind::Unsupported,
            "configured logging driver does not support reading",
        ));
    };
    let follow = (query.flag("follow") && view.record.state.is_running()).then(|| container.watch());
    let (sender, response) = streaming(content_type(options.tty, req.version));
    tokio::spawn(async move {
        if let Err(err) = send(&path, &options, follow, &sender).await {
            tracing::debug!("log {}: {err}", path.display());
        }
    });
    Ok(response)
}

/// Sends the log so far to an attached client (`logs=1`).
pub async fn replay(engine: &Engine, record: &Record, request: &AttachRequest, output: &mut Output) {
    let asked = Options {
        stdout: request.stdout,
        stderr: request.stderr,
        timestamps: false,
        details: false,
        tty: record.config.tty || output.is_plain(),
        since: None,
        until: None,
        tail: None,
    };
    let Some(path) = options::path(engine, record) else { return };
    let Ok(mut reader) = open(&path, &asked).await else { return };
    while let Ok(Some(line)) = reader.next() {
        if let Some(bytes) = asked.render(&line)
            && output.send(&bytes).await.is_err()
        {
            return;
        }
    }
}

/// On a thread of its own: finding the tail of a compressed log takes time.
async fn open(path: &Path, options: &Options) -> io::Result<Reader> {
    let (path, tail, since): (PathBuf, _, _) = (path.to_owned(), options.tail, options.since);
    tokio::task::spawn_blocking(move || Reader::open(&path, tail, since)).await?
}

async fn send(
    path: &Path,
    options: &Options,
    follow: Option<watch::Receiver<Arc<View>>>,
    sender: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut changes = follow.is_some().then(|| Changes::of(path));
    let mut reader = open(path, options).await?;
    let (Some(mut state), Some(changes)) = (follow, &mut changes) else {
        drain(&mut reader, options, sender).await?;
        return Ok(());
    };
    let left = options.until.map(|until| (until - Utc::now()).to_std().unwrap_or_default());
    let end = async move {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        // Looked at before reading: the log is complete when a container is shown as ended.
        let ended = !state.borrow_and_update().record.state.is_running() || state.has_changed().is_err();
        if drain(&mut reader, options, sender).await? {
            return Ok(());
        }
        // The new file is watched before it is read, so that no change to it is missed.
        let replaced = changes.look(path);
        if reader.catch_up()? {
            continue;
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            () = changes.next(replaced) => {}
            _ = state.changed() => {}
            () = &mut end => return Ok(()),
            () = sender.closed() => return Ok(()),
        }
    }
}

type FileEvents = Pin<Box<dyn Stream<Item = io::Result<Event<OsString>>> + Send>>;

/// Tells when there may be more to read.
struct Changes {
    /// Absent where the kernel has no more watches to give.
    events: Option<FileEvents>,
    watches: Option<inotify::Watches>,
    inode: Option<u64>,
}

impl Changes {
    fn of(path: &Path) -> Self {
        let mut changes = match Inotify::init() {
            Ok(inotify) => {
                let watches = inotify.watches();
                let stream = inotify.into_event_stream(vec![0; 1024]);
                Self { events: stream.ok().map(|stream| Box::pin(stream) as _), watches: Some(watches), inode: None }
            }
            Err(err) => {
                tracing::debug!("inotify: {err}");
                Self { events: None, watches: None, inode: None }
            }
        };
        changes.look(path);
        changes
    }

    /// Watches the file that is at `path` now; whether there is none at this moment.
    fn look(&mut self, path: &Path) -> bool {
        let present = files::present(path);
        if present.is_some() && present != self.inode {
            let mask = WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::ATTRIB;
            match self.watches.as_mut().map(|watches| watches.add(path, mask)) {
                Some(Ok(_)) => self.inode = present,
                Some(Err(_)) | None => self.events = None,
            }
        }
        present.is_none()
    }

    /// Waits for a change. A file that is being replaced is looked for again soon.
    async fn next(&mut self, replaced: bool) {
        match &mut self.events {
            Some(events) if !replaced => {
                events.next().await;
            }
            Some(_) | None => tokio::time::sleep(POLL).await,
        }
    }
}

/// Sends what is there; whether the client has gone or `until` was passed.
async fn drain(reader: &mut Reader, options: &Options, sender: &mpsc::Sender<Bytes>) -> io::Result<bool> {
    // Several records go in one piece, or a long log would be thousands of writes.
    let mut batch = Vec::new();
    loop {
        let line = reader.next()?;
        let done = line.is_none() || batch.len() > 32 << 10;
        if let Some(line) = &line {
            if options.until.is_some_and(|until| line.time > until) {
                let sent = batch.is_empty() || sender.send(batch.into()).await.is_ok();
                return Ok(sent || sender.is_closed());
            }
            if let Some(bytes) = options.render(line) {
                batch.extend_from_slice(&bytes);
            }
        }
        if done && !batch.is_empty() && sender.send(std::mem::take(&mut batch).into()).await.is_err() {
            return Ok(true);
        }
        if line.is_none() {
            return Ok(false);
        }
    }
}

impl Options {
    /// A record as the client shall see it, if it shall.
    fn render(&self, line: &Line) -> Option<Vec<u8>> {
        let (stream, wanted) = match line.stream.as_str() {
            "stderr" => (StdStream::Stderr, self.stderr),
            _ => (StdStream::Stdout, self.stdout),
        };
        if !wanted || self.since.is_some_and(|since| line.time < since) {
            return None;
        }
        let mut text = String::new();
        if self.timestamps {
            text.push_str(&line.time.to_rfc3339_opts(SecondsFormat::Nanos, true));
            text.push(' ');
        }
        if self.details {
            text.push_str(&details(&line.attrs));
            text.push(' ');
        }
        text.push_str(&line.log);
        if self.tty {
            return Some(text.into_bytes());
        }
        let mut frame = frame_head(stream, u32::try_from(text.len()).ok()?).to_vec();
        frame.extend_from_slice(text.as_bytes());
        Some(frame)
    }
}

/// `key=value,…`, escaped as in a query.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let mut pairs: Vec<String> =
        attributes.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.sort();
    pairs.join(",")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_escaped() {
        let list = BTreeMap::from([("b".to_owned(), "x y".to_owned()), ("a".to_owned(), "ü=,".to_owned())]);
        assert_eq!(details(&list), "a=%C3%BC%3D%2C,b=x+y");
        assert_eq!(details(&BTreeMap::new()), "");
    }
}
