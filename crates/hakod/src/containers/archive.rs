//! `HEAD`, `GET` and `PUT /containers/{id}/archive`: `docker cp`.

use super::{
    Container,
    actor::{self, Request as Ask},
    files::Lease,
};
use crate::{
    Engine,
    http::{Request, Response, body_of, empty},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hako_layers::decompress;
use hako_model::{Error, ErrorKind, Result};
use hako_task::files::{self, FilesRequest, FrameWriter, PathStat, read_end_blocking};
use http_body_util::BodyExt;
use hyper::{HeaderMap, StatusCode, body::Incoming, header::HeaderValue};
use nix::sys::socket::{MsgFlags, recv};
use std::{
    io::{self, Read, Write},
    os::fd::AsRawFd,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Where a client finds what lies at a path.
const STAT_HEADER: &str = "x-docker-container-path-stat";
/// The kernel takes no longer one.
const MAX_PATH: usize = 4096;
/// How long the rest of a refused archive is read.
const DRAIN: Duration = Duration::from_secs(30);
/// How much of an archive is moved at once.
const CHUNK: usize = 128 << 10;

/// The container and the path that a request is about.
fn target(engine: &Engine, req: &Request) -> Result<(Arc<Container>, String)> {
    let path = req.query.get("path");
    if path.is_empty() {
        // Docker's words, with their missing space.
        return Err(Error::invalid("bad parameter: pathcannot be empty"));
    }
    let container = engine.containers.find(&req.param)?;
    if path.len() >= MAX_PATH {
        return Err(Error::invalid(format!("path of {} bytes: file name too long", path.len())));
    }
    Ok((container, path.to_owned()))
}

/// Docker's words for a path at which nothing is.
fn missing<'a>(req: &'a Request, path: &'a str) -> impl FnOnce(Error) -> Error + 'a {
    let (name, path) = (req.param.clone(), path.to_owned());
    move |err| match err.kind {
        ErrorKind::NotFound => Error::not_found(format!("Could not find the file {path} in container {name}")),
        _ => err,
    }
}

fn put_stat(headers: &mut HeaderMap, stat: Option<&PathStat>) -> Result<()> {
    let json =
        serde_json::to_vec(&stat.cloned().unwrap_or_default()).map_err(|err| Error::internal(err.to_string()))?;
    let value = HeaderValue::from_str(&STANDARD.encode(json)).map_err(|err| Error::internal(err.to_string()))?;
    headers.insert(STAT_HEADER, value);
    Ok(())
}

/// What lies at a path, in a header.
pub async fn stat(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let (container, path) = target(engine, req)?;
    let lease = container.ask(Ask::Files).await?;
    let (_, reply) = lease.open(&FilesRequest::Stat { path: path.clone() }).await.map_err(missing(req, &path))?;
    let mut response = empty(StatusCode::OK);
    put_stat(response.headers_mut(), reply.stat.as_ref())?;
    Ok(response)
}

/// A tar of what lies at a path.
pub async fn get(engine: &Arc<Engine>, req: &Request) -> Result<Response> {
    let (container, path) = target(engine, req)?;
    let lease = container.ask(Ask::Files).await?;
    let request = FilesRequest::Pack { path: path.clone() };
    let (stream, reply) = lease.open(&request).await.map_err(missing(req, &path))?;
    let mut response = body_of("application/x-tar", frames(lease, stream));
    put_stat(response.headers_mut(), reply.stat.as_ref())?;
    actor::emit(engine, &container.view().record, "archive-path", &[]);
    Ok(response)
}

/// The data that follows a reply. The lease is held until its end.
pub(super) fn frames(lease: Lease, stream: tokio::net::UnixStream) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some((lease, stream)), |state| async move {
        let (lease, mut stream) = state?;
        match files::next_frame(&mut stream).await {
            Ok(Some(frame)) => Some((Ok(Bytes::from(frame)), Some((lease, stream)))),
            Ok(None) => {
                let err = files::read_end(&mut stream).await.err()?;
                tracing::warn!("an archive broke off: {err}");
                Some((Err(io::Error::other(err)), None))
            }
            Err(err) => {
                tracing::warn!("an archive broke off: {err}");
                Some((Err(err), None))
            }
        }
    })
}

/// Unpacks the body, a tar in any of the usual compressions, below a path.
pub async fn put(engine: &Arc<Engine>, req: Request) -> Result<Response> {
    let opened = open(engine, &req).await;
    let mut body = Body::new(req.body);
    let (done, end) = oneshot::channel();
    // Blocking work as long as the client likes: not for the pool that all share.
    std::thread::Builder::new().name("extract".into()).stack_size(1 << 20).spawn(move || {
        let sent = opened.and_then(|(container, lease, stream)| {
            let sent = send(&mut body, stream.into_std()?);
            drop(lease);
            sent.map(|()| container)
        });
        let failed = sent.is_err();
        // The client may have gone.
        let _ = done.send(sent);
        if failed {
            body.drain();
        }
    })?;
    let container = end.await.map_err(|_| Error::internal("unpacking broke off"))??;
    actor::emit(engine, &container.view().record, "extract-to-dir", &[]);
    Ok(empty(StatusCode::OK))
}

/// Finds where the archive goes, and has it granted.
async fn open(engine: &Engine, req: &Request) -> Result<(Arc<Container>, Lease, tokio::net::UnixStream)> {
    let (container, path) = target(engine, req)?;
    let user = container.view().record.config.user.clone();
    let request = FilesRequest::Extract {
        path: path.clone(),
        no_overwrite_dir_non_dir: req.query.flag("noOverwriteDirNonDir"),
        owner: (req.query.flag("copyUIDGID") && !user.is_empty()).then_some(user),
    };
    let lease = container.ask(Ask::Files).await?;
    let (stream, _) = lease.open(&request).await.map_err(missing(req, &path))?;
    Ok((container, lease, stream))
}

/// A request's body for a blocking reader.
struct Body(Box<dyn Read + Send>);

impl Body {
    fn new(body: Incoming) -> Self {
        let pieces = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
        Self(Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(pieces)))))
    }

    /// Reads on while the client hears the reason of a refusal: one that still
    /// sends would see a broken connection instead.
    fn drain(&mut self) {
        let (start, mut buffer) = (Instant::now(), vec![0; CHUNK]);
        while start.elapsed() < DRAIN && matches!(self.0.read(&mut buffer), Ok(n) if n > 0) {}
    }
}

/// Sends the archive, without its compression, until the other side has an
/// answer, and reads that.
fn send(body: &mut Body, mut stream: UnixStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    let (_, mut plain) = decompress(&mut body.0)?;
    let mut out = FrameWriter::new(&stream);
    let mut buffer = vec![0; CHUNK];
    while !has_answer(&stream) {
        // What the archive lacks is the client's fault, and what it is told.
        let n = plain.read(&mut buffer).map_err(hako_layers::Error::from)?;
        if n == 0 {
            // An answer may come before the end has been sent.
            let _ = out.end();
            break;
        }
        if out.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(plain);
    read_end_blocking(&mut stream)
}

fn has_answer(stream: &UnixStream) -> bool {
    recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok()
}
