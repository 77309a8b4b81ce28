//! The connection and the threads on it.
//!
//! One thread at a time reads requests. What is soon done it serves itself, and
//! goes on reading: to wake another would take longer than the request. What
//! may take long (data, syncs, closes) it serves after it has let another read.
//! There is one thread more than such requests are under way, up to a number;
//! the memory of a thread is its request and its reply.

use crate::{
    Error, Result,
    jail::Jail,
    locks::Locks,
    nodes::{Node, Nodes},
    open::{Budget, Opened},
    window::Window,
    wire::{Attributes, HEAD, Head, NOTIFY_INVAL_INODE, Reply, op},
};
use nix::sys::resource::{Resource, getrlimit};
use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Requests that are served at a time.
const MOST_THREADS: usize = 8;
/// Enough for what a request does.
const STACK: usize = 256 << 10;
/// Small requests are read together.
const READ_AHEAD: usize = 64 << 10;
/// Descriptors for the server's own use, for a moment each.
const OWN: usize = 64;
/// Descriptors at most, whatever the limit.
const MOST_DESCRIPTORS: usize = 200_000;

/// The incoming bytes.
#[derive(Debug)]
struct Input {
    socket: UnixStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    /// Fills `into`; false at an end between two requests.
    fn fill(&mut self, into: &mut [u8], may_end: bool) -> io::Result<bool> {
        let mut done = 0;
        while done < into.len() {
            if self.start == self.end {
                let rest = &mut into[done..];
                if rest.len() >= self.buffer.len() {
                    match self.socket.read(rest)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        n => done += n,
                    }
                    continue;
                }
                self.start = 0;
                self.end = self.socket.read(&mut self.buffer)?;
                if self.end == 0 {
                    return if may_end && done == 0 { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                }
            }
            let n = (self.end - self.start).min(into.len() - done);
            into[done..done + n].copy_from_slice(&self.buffer[self.start..self.start + n]);
            self.start += n;
            done += n;
        }
        Ok(true)
    }

    /// The next request; `None` at the end. `body` only grows.
    fn next(&mut self, body: &mut Vec<u8>) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD];
        if !self.fill(&mut bytes, true)? {
            return Ok(None);
        }
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a request of an impossible length");
        let head = Head::parse(&bytes).ok_or_else(invalid)?;
        let len = head.len - HEAD;
        if body.len() < len {
            body.resize(len, 0);
        }
        self.fill(&mut body[..len], false)?;
        Ok(Some(head))
    }
}

/// Whether others should not wait for it.
fn takes_long(opcode: u32) -> bool {
    matches!(
        opcode,
        op::READ
            | op::WRITE
            | op::FSYNC
            | op::FSYNCDIR
            | op::RELEASE
            | op::UNLINK
            | op::SETATTR
            | op::FALLOCATE
            | op::COPY_FILE_RANGE
    )
}

/// One guest's shares.
#[derive(Debug)]
pub struct Server {
    pub(crate) jail: Jail,
    pub(crate) roots: Vec<Arc<Node>>,
    pub(crate) nodes: Nodes,
    pub(crate) opened: Opened,
    pub(crate) locks: Locks,
    pub(crate) window: Window,
    input: Mutex<Input>,
    output: Mutex<UnixStream>,
    pub(crate) agreed: AtomicU64,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Why another thread has ended.
    broken: Mutex<Option<Error>>,
}

impl Server {
    /// Serves `roots`, each open with `O_PATH`, in their order; those that are
    /// read-only are so by their mounts.
    ///
    /// # Errors
    /// A root that cannot be opened.
    pub fn new(
        jail: Jail,
        roots: impl Iterator<Item = (OwnedFd, bool)>,
        socket: UnixStream,
        window: Option<OwnedFd>,
    ) -> Result<Self> {
        let failed = |source: io::Error| Error::Step { what: "open the shares", source };
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|err| failed(err.into()))?;
        let most = usize::try_from(limit).unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS).saturating_sub(OWN);
        let budget = Budget::new(most / 2);
        let nodes = Nodes::new(most / 2);
        let roots = roots
            .map(|(fd, read_only)| nodes.find(&jail, fd, read_only).map(|(node, _)| node))
            .collect::<std::result::Result<Vec<_>, Errno>>()
            .map_err(|err| failed(err.into()))?;
        let output = socket.try_clone().map_err(failed)?;
        let input = Input { socket, buffer: vec![0; READ_AHEAD].into(), start: 0, end: 0 };
        Ok(Self {
            jail,
            roots,
            nodes,
            opened: Opened::new(budget.clone()),
            locks: Locks::new(budget),
            window: Window(window),
            input: Mutex::new(input),
            output: Mutex::new(output),
            agreed: AtomicU64::new(0),
            threads: AtomicUsize::new(1),
            idle: AtomicUsize::new(0),
            broken: Mutex::new(None),
        })
    }

    /// Serves until the other side closes the connection.
    ///
    /// # Errors
    /// What came is no request, or a thread could not be made its own.
    pub fn run(self: &Arc<Self>) -> Result<()> {
        let served = self.work();
        self.hang_up();
        served?;
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        broken.map_or(Ok(()), Err)
    }

    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: &Arc<Self>) -> Result<()> {
        self.jail.enter_thread().map_err(|source| Error::Step { what: "make a thread its own", source })?;
        let (mut body, mut reply) = (Vec::new(), Reply::default());
        let mut reading = None;
        loop {
            let input = reading.get_or_insert_with(|| {
                self.idle.fetch_add(1, Ordering::Relaxed);
                let input = self.input();
                self.idle.fetch_sub(1, Ordering::Relaxed);
                input
            });
            let head = match input.next(&mut body) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(()),
                Err(err) if matches!(err.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    return Ok(());
                }
                Err(err) => return Err(Error::Broken(err.to_string())),
            };
            if takes_long(head.opcode) {
                reading = None;
                if self.idle.load(Ordering::Relaxed) == 0 {
                    self.add_thread();
                }
            }
            reply.clear();
            match self.serve(&head, &body[..head.len - HEAD], &mut reply) {
                // Requests without a reply, and those that are answered later.
                None => continue,
                Some(Ok(())) => reply.seal(head.unique, 0),
                Some(Err(err)) => {
                    reply.clear();
                    reply.seal(head.unique, -err.raw_os_error());
                }
            }
            if self.send(&reply.0).is_err() {
                return Ok(());
            }
        }
    }

    /// The end is everybody's: the other threads hear of it by the connection.
    fn hang_up(&self) {
        self.locks.end();
        // It may be gone already.
        let _ = self.output.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
    }

    /// One thread more, for the next request. Without one it waits.
    fn add_thread(self: &Arc<Self>) {
        let more = |threads: usize| (threads < MOST_THREADS).then_some(threads + 1);
        if self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return;
        }
        let server = self.clone();
        let work = move || {
            if let Err(err) = server.work() {
                server.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
            }
            server.hang_up();
        };
        if std::thread::Builder::new().name("serve".into()).stack_size(STACK).spawn(work).is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A thread that tries for the locks that are waited for.
    pub(crate) fn add_lock_thread(self: &Arc<Self>) {
        let server = self.clone();
        let work = move || {
            server.locks.wait(&server.jail, |unique, done| {
                let mut reply = Reply::default();
                reply.clear();
                reply.seal(unique, done.err().map_or(0, |err| -err.raw_os_error()));
                // Whoever reads the connection's end hears of it.
                let _ = server.send(&reply.0);
            });
        };
        if let Err(err) = std::thread::Builder::new().name("locks".into()).stack_size(STACK).spawn(work) {
            eprintln!("hako-shim fs: {err}");
            std::process::exit(1);
        }
    }

    /// One message to the guest, whole.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    /// Tells the guest that what it knows of an inode's attributes is out of date.
    pub(crate) fn invalidate(&self, node: u64) {
        let mut message = Reply::default();
        message.clear();
        message.u64(node);
        // Before the first byte: attributes alone.
        message.u64(u64::MAX);
        message.u64(0);
        message.seal(0, NOTIFY_INVAL_INODE);
        let _ = self.send(&message.0);
    }

    /// A node's file, opened. Nothing but regular files is: a device would be the host's.
    pub(crate) fn open_file(&self, node: &Node, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        match node.kind {
            FileType::RegularFile => self.jail.reopen(node.fd()?.as_fd(), flags),
            FileType::Directory => Err(Errno::ISDIR),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Err(Errno::PERM),
        }
    }

    /// What an inode is, with the number that the guest sees.
    pub(crate) fn attributes(&self, stat: rustix::fs::Statx) -> Attributes {
        Attributes { ino: self.nodes.ino(&stat), stat }
    }
}
