//! A container's files on this kernel: where they are, and one request on them.
//!
//! A request is served by a thread of its own with blocking reads and writes,
//! which give it its pace; the thread and its buffers end with the request.

use super::{init::Container, locked, rootfs::Mounts};
use crate::Mount;
use chrono::{DateTime, SecondsFormat};
use hako_layers::files::{self, ChangeKind, Destination, Extract, FileStat, Overlay, Root, Source};
use hako_model::{Error, ErrorKind, Result};
use hako_task::{
    extra::{BindMount, MountRequest, RootMount},
    files::{Change, FilesEnd, FilesError, FilesReply, FilesRequest, FrameReader, FrameWriter, PathStat, refuse},
};
use serde::Serialize;
use std::{
    io::{self, BufReader, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// A tree is removed level by level, each a call.
const STACK: usize = 1 << 20;
/// How much of an archive is read at once.
const CHUNK: usize = 128 << 10;
/// How long a client may take to close after the last line.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// A root filesystem on this side of the wall.
#[derive(Debug)]
pub(super) struct Tree {
    /// Where it is mounted, without what the container mounts in it.
    rootfs: PathBuf,
    overlay: Option<Sides>,
}

#[derive(Debug)]
struct Sides {
    upper: PathBuf,
    /// The top first.
    lowers: Vec<PathBuf>,
}

impl Tree {
    /// What the mounts of a bundle say.
    pub(super) fn of(bundle: &Path, mounts: &[Mount]) -> Self {
        let overlay = mounts.iter().find(|mount| mount.kind == "overlay" && mount.target() == "rootfs");
        let option = |key: &str| overlay?.options.iter().find_map(|option| option.strip_prefix(key));
        let sides = option("upperdir=").zip(option("lowerdir=")).map(|(upper, lowers)| Sides {
            upper: bundle.join(split(upper).concat()),
            lowers: split(lowers).iter().map(|dir| bundle.join(dir)).collect(),
        });
        Self { rootfs: bundle.join("rootfs"), overlay: sides }
    }

    fn plain(&self) -> Result<Root> {
        Root::open(&self.rootfs)
    }

    fn overlay(&self) -> Result<Overlay> {
        let absent = || Error::unsupported("changes of a root filesystem that is no overlay");
        let sides = self.overlay.as_ref().ok_or_else(absent)?;
        Overlay::open(&sides.upper, &sides.lowers)
    }
}

/// The directories of an overlay's option: a backslash makes the next character plain.
fn split(option: &str) -> Vec<String> {
    let mut dirs = vec![String::new()];
    let mut chars = option.chars();
    while let Some(char) = chars.next() {
        let plain = match char {
            '\\' => chars.next(),
            ':' => {
                dirs.push(String::new());
                None
            }
            other => Some(other),
        };
        if let (Some(char), Some(dir)) = (plain, dirs.last_mut()) {
            dir.push(char);
        }
    }
    dirs
}

/// A root filesystem that is mounted for its files alone.
#[derive(Debug)]
pub(super) struct Mounted {
    tree: Tree,
    mounts: Mutex<Mounts>,
}

impl Mounted {
    pub(super) fn new(req: &MountRequest, is_mounted: bool) -> Result<Self> {
        let bundle = Path::new(&req.bundle);
        let list: Vec<Mount> = req.rootfs.iter().map(mount).collect();
        let tree = Tree::of(bundle, &list);
        let mut mounts = Mounts::mount(bundle, if is_mounted { &[] } else { &list })?;
        let bound = req.binds.iter().try_for_each(|bind| bind_mount(bundle, &tree, bind));
        let done = bound.and_then(|()| match req.read_only {
            true => hako_os::mount::remount_read_only(&tree.rootfs)
                .map_err(|err| Error::internal(format!("make {} read-only: {err}", tree.rootfs.display()))),
            false => Ok(()),
        });
        if let Err(err) = done {
            // What went wrong first is what the caller must hear of.
            let _ = mounts.unmount();
            return Err(err);
        }
        Ok(Self { tree, mounts: Mutex::new(mounts) })
    }

    pub(super) fn unmount(&self) -> Result<()> {
        locked(&self.mounts).unmount()
    }
}

fn mount(mount: &RootMount) -> Mount {
    Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

/// Binds a host folder or file where the container would have it. The place is
/// found in the container's root, whatever links the image has on the way.
fn bind_mount(bundle: &Path, tree: &Tree, bind: &BindMount) -> Result<()> {
    let named = |err: io::Error| Error::internal(format!("mount {} on {}: {err}", bind.source, bind.destination));
    let mut source = bundle.join(&bind.source);
    // Open until it is mounted.
    let _found = match bind.beneath.as_str() {
        "" => None,
        beneath => {
            let found = hako_os::mount::foreign::open_beneath(&source, Path::new(beneath)).map_err(named)?;
            source = format!("/proc/self/fd/{}", found.as_raw_fd()).into();
            Some(found)
        }
    };
    let source = source.as_path();
    let is_dir = source.metadata().map_err(named)?.is_dir();
    let root = tree.plain()?;
    let target = root.mount_point(bind.destination.as_bytes(), is_dir)?;
    hako_os::mount::bind_on(source, target.as_fd()).map_err(named)?;
    if bind.read_only {
        // Found anew: what is mounted is another directory than it was.
        let place = root.mount_point(bind.destination.as_bytes(), is_dir)?;
        let place = format!("/proc/self/fd/{}", place.as_raw_fd());
        hako_os::mount::remount_read_only(Path::new(&place)).map_err(named)?;
    }
    Ok(())
}

/// Whose files they are.
pub(super) enum Place {
    Mounted(Arc<Mounted>),
    Container(Arc<Container>),
}

impl Place {
    fn tree(&self) -> &Tree {
        match self {
            Self::Mounted(mounted) => &mounted.tree,
            Self::Container(container) => &container.tree,
        }
    }

    /// The root as the container sees it, with its mounts while it lives.
    fn root(&self) -> Result<Root> {
        if let Self::Container(container) = self
            && container.init.ended().is_none()
        {
            let named = |err: io::Error| Error::internal(format!("root of container {}: {err}", container.id));
            let root = hako_os::mount::root_of(container.init.pid());
            // Its number may be another's only once it has ended.
            if container.init.ended().is_none() {
                return root.map(Root::new).map_err(named);
            }
        }
        self.tree().plain()
    }
}

/// Serves one request to its end.
pub(super) async fn serve(place: Result<Place>, request: FilesRequest, client: tokio::net::UnixStream) {
    let mut client = client;
    let place = match place {
        Ok(place) => place,
        Err(err) => {
            // A client that has gone needs no answer.
            let _ = refuse(&mut client, err).await;
            return;
        }
    };
    let (done, end) = oneshot::channel::<()>();
    let served = client.into_std().and_then(|client| {
        client.set_nonblocking(false)?;
        let work = move || {
            // A client that breaks off is its own affair.
            let _ = Server { client }.run(&place, request);
            drop(done);
        };
        thread::Builder::new().name("files".into()).stack_size(STACK).spawn(work)
    });
    match served {
        // The sender is dropped at the end.
        Ok(_) => drop(end.await),
        Err(err) => tracing::warn!("serve a container's files: {err}"),
    }
}

struct Server {
    client: UnixStream,
}

impl Server {
    fn run(&mut self, place: &Place, request: FilesRequest) -> io::Result<()> {
        match request {
            FilesRequest::Stat { path } => {
                let found = place.root().and_then(|root| files::stat(&root, &files::clean(path.as_bytes())));
                self.reply(found.map(|stat| Some(told(&stat)))).map(drop)?;
            }
            FilesRequest::Pack { path } => {
                let found = place.root().and_then(|root| Source::find(&root, &files::clean(path.as_bytes())));
                let stat = found.as_ref().map(|source| Some(told(&source.stat))).map_err(Clone::clone);
                if let (true, Ok(source)) = (self.reply(stat)?, found) {
                    self.send(|out| source.pack(out))?;
                }
            }
            FilesRequest::Export => {
                let root = place.tree().plain();
                if let Some(root) = self.grant(root)? {
                    self.send(|out| files::export(&root, out))?;
                }
            }
            FilesRequest::Changes { hidden } => {
                if let Some(overlay) = self.grant(place.tree().overlay())? {
                    self.send(|out| files::changes(&overlay, &hidden, &mut |kind, path| tell(out, kind, path)))?;
                }
            }
            FilesRequest::Layer { hidden } => {
                if let Some(overlay) = self.grant(place.tree().overlay())? {
                    self.send(|out| files::layer(&overlay, &hidden, out))?;
                }
            }
            FilesRequest::Extract { path, no_overwrite_dir_non_dir, owner } => {
                let root = place.root();
                let ready = root.as_ref().map_err(Clone::clone).and_then(|root| {
                    let owner = owner.map(|text| files::owner(root, &text)).transpose()?;
                    let to = Destination::find(root, &files::clean(path.as_bytes()))?;
                    Ok((to, Extract { no_overwrite_dir_non_dir, owner }))
                });
                if let Some((to, how)) = self.grant(ready)? {
                    let taken = self.take(to, how)?;
                    self.end(taken)?;
                }
            }
        }
        self.close()
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.client.write_all(&line)
    }

    /// The first line; whether the request is granted.
    fn reply(&mut self, result: Result<Option<PathStat>>) -> io::Result<bool> {
        let (error, stat) = match result {
            Ok(stat) => (None, stat),
            Err(err) => (Some(FilesError::from(err)), None),
        };
        let granted = error.is_none();
        self.line(&FilesReply { error, stat })?;
        Ok(granted)
    }

    fn grant<T>(&mut self, result: Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(granted) => self.reply(Ok(None)).map(|_| Some(granted)),
            Err(err) => self.reply(Err(err)).map(|_| None),
        }
    }

    /// Frames of what `write` writes, and how it went.
    fn send(&mut self, write: impl FnOnce(&mut FrameWriter<&UnixStream>) -> Result<()>) -> io::Result<()> {
        let client = self.client.try_clone()?;
        let mut out = FrameWriter::new(&client);
        let written = write(&mut out);
        out.end()?;
        self.end(written)
    }

    fn take(&mut self, to: Destination<'_>, how: Extract) -> io::Result<Result<()>> {
        let mut frames = BufReader::with_capacity(CHUNK, FrameReader::new(self.client.try_clone()?));
        let taken = to.unpack(&mut frames, how);
        if taken.is_ok() {
            // What follows the archive's own end.
            io::copy(&mut frames, &mut io::sink())?;
        }
        Ok(taken)
    }

    fn end(&mut self, result: Result<()>) -> io::Result<()> {
        self.line(&FilesEnd { error: result.err().map(FilesError::from) })
    }

    /// Reads on until the client closes: what it has not read yet would be lost.
    fn close(&mut self) -> io::Result<()> {
        self.client.set_read_timeout(Some(CLOSE_LIMIT))?;
        let mut rest = vec![0; 32 << 10];
        while self.client.read(&mut rest)? > 0 {}
        Ok(())
    }
}

fn told(stat: &FileStat) -> PathStat {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let time = DateTime::from_timestamp(stat.mtime.0, stat.mtime.1).unwrap_or_default();
    PathStat {
        name: text(&stat.name),
        size: i64::try_from(stat.size).unwrap_or(i64::MAX),
        mode: files::go_mode(stat.mode),
        mtime: time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        link_target: text(&stat.link_target),
    }
}

fn tell(out: &mut impl Write, kind: ChangeKind, path: &[u8]) -> Result<()> {
    let change = Change { path: String::from_utf8_lossy(path).into_owned(), kind: kind.number() };
    let mut line = serde_json::to_vec(&change).map_err(|err| Error::internal(err.to_string()))?;
    line.push(b'\n');
    out.write_all(&line).map_err(|err| Error::new(ErrorKind::Unavailable, format!("tell of a change: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_an_overlay() {
        let mount = |options: &[&str]| Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        let tree = Tree::of(Path::new("/b"), &[mount(&["lowerdir=low:/x\\:y", "upperdir=s/up", "workdir=s/work"])]);
        let sides = tree.overlay.unwrap();
        assert_eq!(sides.upper, Path::new("/b/s/up"));
        assert_eq!(sides.lowers, [PathBuf::from("/b/low"), PathBuf::from("/x:y")]);
        assert!(Tree::of(Path::new("/b"), &[mount(&["lowerdir=a:b"])]).overlay().is_err());
    }
}
