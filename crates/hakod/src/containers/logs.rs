//! `GET /containers/{id}/logs`. The shim writes the log, so it is whole even
//! for the time that the engine was not there.

use super::{
    actor::View,
    log_file::{Line, Reader},
    record::Record,
};
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
use futures::StreamExt;
use hako_api::time::parse_query;
use hako_model::{Error, Result};
use hako_task::stdio::{AttachRequest, StdStream, frame_head};
use inotify::{Inotify, WatchMask};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{mpsc, watch};

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
    if view.record.host.log_config.r#type == "none" {
        return Err(Error::new(
            hako_model::ErrorKind::Unsupported,
            "configured logging driver does not support reading",
        ));
    }
    let follow = (query.flag("follow") && view.record.state.is_running()).then(|| container.watch());
    let path = log_path(engine, &view.record);
    let (sender, response) = streaming(content_type(options.tty, req.version));
    tokio::spawn(async move {
        if let Err(err) = send(&path, &options, follow, &sender).await {
            tracing::debug!("log {}: {err}", path.display());
        }
    });
    Ok(response)
}

/// Where a container's log is.
pub fn log_path(engine: &Engine, record: &Record) -> PathBuf {
    engine.container_dir(record.id.as_str()).join(format!("{}-json.log", record.id))
}

/// Sends the log so far to an attached client (`logs=1`).
pub async fn replay(engine: &Engine, record: &Record, request: &AttachRequest, output: &mut Output) {
    let options = Options {
        stdout: request.stdout,
        stderr: request.stderr,
        timestamps: false,
        details: false,
        tty: record.config.tty,
        since: None,
        until: None,
        tail: None,
    };
    let Ok(mut reader) = Reader::open(&log_path(engine, record), None) else { return };
    while let Ok(Some(line)) = reader.next() {
        if let Some(bytes) = options.render(&line)
            && output.send(&bytes).await.is_err()
        {
            return;
        }
    }
}

async fn send(
    path: &Path,
    options: &Options,
    follow: Option<watch::Receiver<Arc<View>>>,
    sender: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut reader = match Reader::open(path, options.tail) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let Some(mut state) = follow else {
        drain(&mut reader, options, sender).await?;
        return Ok(());
    };
    let inotify = Inotify::init()?;
    inotify.watches().add(path, WatchMask::MODIFY)?;
    let mut changes = inotify.into_event_stream([0; 1024])?;
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
        if drain(&mut reader, options, sender).await? || ended {
            return Ok(());
        }
        tokio::select! {
            _ = changes.next() => {}
            _ = state.changed() => {}
            () = &mut end => return Ok(()),
            () = sender.closed() => return Ok(()),
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
            // No log driver here has attributes.
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
