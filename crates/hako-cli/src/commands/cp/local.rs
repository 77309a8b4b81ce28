//! The local side of a copy: reading files into an archive, and writing an
//! archive's files. What comes from a container may be anything: nothing is
//! written outside of the target's folder.

use super::place::Plan;
use crate::api::{Body, written};
use crate::error::{Error, Result, reason};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Pieces that may wait for the other side.
const QUEUE: usize = 8;
/// How much is sent at once.
const PIECE: usize = 128 << 10;

fn wrong(path: &Path, err: &io::Error) -> Error {
    Error::msg(format!("{}: {}", path.display(), reason(err)))
}

/// What is copied; a link is one unless it is followed, or written with a slash behind it.
pub(super) fn source(path: &str, follow: bool) -> Result<Metadata> {
    let meta = if follow || path.ends_with('/') || path.ends_with("/.") {
        fs::metadata(path)
    } else {
        fs::symlink_metadata(path)
    };
    meta.map_err(|err| wrong(Path::new(path), &err))
}

/// A request's body with `source` as an archive.
pub(super) fn pack(source: &str, follow: bool, plan: Plan) -> Body {
    let source = PathBuf::from(source);
    written(PIECE, move |sink| write_archive(sink, &source, follow, &plan.to))
}

fn write_archive(sink: impl Write, source: &Path, follow: bool, name: &str) -> io::Result<()> {
    let mut archive = tar::Builder::new(sink);
    archive.follow_symlinks(false);
    // Only what is named itself is followed, as in Docker.
    let top = if follow { fs::canonicalize(source)? } else { source.to_owned() };
    if fs::metadata(&top).is_ok_and(|meta| meta.is_dir()) && !fs::symlink_metadata(&top)?.is_symlink() {
        archive.append_dir_all(name, &top)?;
    } else {
        archive.append_path_with_name(&top, name)?;
    }
    archive.into_inner()?.flush()
}

/// Writes the files of an engine's archive.
pub(super) async fn unpack(body: Incoming, plan: Plan) -> Result<()> {
    let (queue, pieces) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || write_files(Source { pieces, current: Bytes::new() }, &plan));
    let mut data = body.into_data_stream();
    while let Some(piece) = data.next().await {
        // A writer that has failed says so itself.
        if queue.send(piece.map_err(io::Error::other)).await.is_err() {
            break;
        }
    }
    drop(queue);
    writer.await.map_err(|err| Error::msg(err.to_string()))?
}

struct Source {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Where nothing is renamed the files are merged into the folder; else they are
/// made beside the target and take its name at the end.
fn write_files(source: impl Read, plan: &Plan) -> Result<()> {
    let folder = Path::new(&plan.folder);
    let target = folder.join(&plan.to);
    if plan.from == "." && plan.to != "." {
        fs::create_dir(&target).map_err(|err| wrong(&target, &err))?;
        return unpack_into(source, &target);
    }
    if plan.from == plan.to {
        return unpack_into(source, folder);
    }
    let fresh = tempfile::Builder::new().prefix(".hako-cp-").tempdir_in(folder).map_err(|err| wrong(folder, &err))?;
    unpack_into(source, fresh.path())?;
    fs::rename(fresh.path().join(&plan.from), &target).map_err(|err| wrong(&target, &err))
}

/// The crate resolves every name below `folder` and refuses what leads out.
fn unpack_into(source: impl Read, folder: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(source);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(true);
    archive.unpack(folder).map_err(|err| wrong(folder, &err))
}
