//! Locks, which processes in guests, in containers behind the process wall and
//! on the host take on the same files.
//!
//! A lock of `flock` is taken on the descriptor that the guest's open file has
//! here. A lock of `fcntl` is taken as a lock of an open file description
//! (`F_OFD_SETLK`), of which there is one for each owner in each file: the
//! kernel compares them with those of everybody else. What waits for a lock is
//! asked for again and again by one thread: a lock that is given up by the same
//! guest is noticed at once, others within a hundredth of a second.

use crate::{
    jail::Jail,
    nodes::{Node, Nodes},
    open::{Budget, Open, Slot},
    wire::Args,
};
use nix::fcntl::{FcntlArg, fcntl};
use rustix::{
    fs::{FileType, FlockOperation, OFlags},
    io::Errno,
};
use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many may wait at a time.
const MOST_WAITING: usize = 4096;
/// How soon a lock is tried again, at first and at last.
const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(10);
/// The request is about `flock`.
const LK_FLOCK: u32 = 1;

/// One owner's description of one file.
#[derive(Debug)]
struct Owned {
    fd: OwnedFd,
    _slot: Slot,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    unique: u64,
    owner: u64,
    start: u64,
    end: u64,
    kind: i32,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    Flock(Arc<Open>),
    Posix(Arc<Node>),
}

#[derive(Debug, Default)]
struct Waiting {
    list: Vec<Wanted>,
    /// Something was unlocked.
    unlocked: bool,
    running: bool,
    /// Nobody is there any more who waits.
    ended: bool,
}

/// All locks of the guest.
#[derive(Debug)]
pub struct Locks {
    owned: Mutex<HashMap<(u64, u64), Arc<Owned>>>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    budget: Arc<Budget>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It waits; the reply comes later.
    Later,
}

impl Wanted {
    /// Reads a request of GETLK, SETLK or SETLKW.
    ///
    /// # Errors
    /// `EINVAL`, `EBADF`.
    pub fn parse(
        args: &mut Args<'_>,
        unique: u64,
        node: u64,
        nodes: &Nodes,
        open: impl Fn(u64) -> Result<Arc<Open>, Errno>,
    ) -> Result<Self, Errno> {
        let (fh, owner, start, end) = (args.u64()?, args.u64()?, args.u64()?, args.u64()?);
        let (kind, _pid, flags) = (args.u32()?, args.u32()?, args.u32()?);
        let kind = i32::try_from(kind).map_err(|_| Errno::INVAL)?;
        let how = if flags & LK_FLOCK != 0 { How::Flock(open(fh)?) } else { How::Posix(nodes.get(node)?) };
        Ok(Self { unique, owner, start, end, kind, how })
    }

    fn posix(&self) -> Result<libc::flock, Errno> {
        let start = i64::try_from(self.start).map_err(|_| Errno::INVAL)?;
        // A lock to the end of the file, wherever that will be, has no length.
        let len = match i64::try_from(self.end) {
            Ok(i64::MAX) | Err(_) => 0,
            Ok(end) if end >= start => end - start + 1,
            Ok(_) => return Err(Errno::INVAL),
        };
        let kind = i16::try_from(self.kind).map_err(|_| Errno::INVAL)?;
        let whence = i16::try_from(libc::SEEK_SET).map_err(|_| Errno::INVAL)?;
        Ok(libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: len, l_pid: 0 })
    }
}

impl Locks {
    /// None.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { owned: Mutex::default(), waiting: Mutex::default(), changed: Condvar::new(), budget }
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<(u64, u64), Arc<Owned>>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner's description of the file, made if it has none.
    fn description(&self, jail: &Jail, node: &Node, owner: u64) -> Result<Arc<Owned>, Errno> {
        if let Some(owned) = self.owned().get(&(node.id, owner)) {
            return Ok(owned.clone());
        }
        if !matches!(node.kind, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::NOLCK);
        }
        let slot = self.budget.take().map_err(|_| Errno::NOLCK)?;
        let path = node.fd()?;
        // What can be written can be locked for writing. The rest needs no such lock.
        let fd = match jail.reopen(path.as_fd(), OFlags::RDWR) {
            Err(Errno::ROFS | Errno::ISDIR | Errno::TXTBSY | Errno::ACCESS | Errno::PERM) => {
                jail.reopen(path.as_fd(), OFlags::RDONLY)?
            }
            opened => opened?,
        };
        let made = Arc::new(Owned { fd, _slot: slot });
        Ok(self.owned().entry((node.id, owner)).or_insert(made).clone())
    }

    /// Which lock stands in the way: kind, start, end, process. None is `F_UNLCK`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn test(&self, jail: &Jail, wanted: &Wanted) -> Result<(i32, u64, u64), Errno> {
        let How::Posix(node) = &wanted.how else { return Err(Errno::INVAL) };
        let had = self.owned().contains_key(&(node.id, wanted.owner));
        let owned = self.description(jail, node, wanted.owner)?;
        let mut lock = wanted.posix()?;
        let tested = fcntl(owned.fd.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock));
        if !had {
            self.owned().remove(&(node.id, wanted.owner));
        }
        tested.map_err(|err| Errno::from_raw_os_error(err as i32))?;
        let start = lock.l_start.cast_unsigned();
        let end = if lock.l_len == 0 { i64::MAX.cast_unsigned() } else { start + lock.l_len.cast_unsigned() - 1 };
        Ok((i32::from(lock.l_type), start, end))
    }

    /// Takes or gives up a lock without waiting.
    fn set(&self, jail: &Jail, wanted: &Wanted) -> Result<(), Errno> {
        match &wanted.how {
            How::Flock(open) => {
                let operation = match wanted.kind {
                    libc::F_RDLCK => FlockOperation::NonBlockingLockShared,
                    libc::F_WRLCK => FlockOperation::NonBlockingLockExclusive,
                    libc::F_UNLCK => FlockOperation::NonBlockingUnlock,
                    _ => return Err(Errno::INVAL),
                };
                rustix::fs::flock(open.fd()?, operation)
            }
            How::Posix(node) => {
                let known = self.owned().get(&(node.id, wanted.owner)).cloned();
                let owned = match (wanted.kind, known) {
                    // What has no locks has none to give up.
                    (libc::F_UNLCK, None) => return Ok(()),
                    (_, Some(owned)) => owned,
                    (_, None) => self.description(jail, node, wanted.owner)?,
                };
                let lock = wanted.posix()?;
                fcntl(owned.fd.as_fd(), FcntlArg::F_OFD_SETLK(&lock))
                    .map(drop)
                    .map_err(|err| Errno::from_raw_os_error(err as i32))
            }
        }
    }

    /// Takes or gives up a lock; one that is to be waited for may be answered later.
    ///
    /// # Errors
    /// `EAGAIN`, and the kernel's.
    pub fn ask(&self, jail: &Jail, wanted: Wanted, wait: bool) -> Result<Answer, Errno> {
        match self.set(jail, &wanted) {
            Err(Errno::AGAIN | Errno::ACCESS) if wait => {
                let mut waiting = self.waiting();
                if waiting.list.len() >= MOST_WAITING {
                    return Err(Errno::NOLCK);
                }
                waiting.list.push(wanted);
                drop(waiting);
                self.changed.notify_one();
                Ok(Answer::Later)
            }
            Err(err) => Err(err),
            Ok(()) => {
                if wanted.kind == libc::F_UNLCK {
                    self.unlocked();
                }
                Ok(Answer::Done)
            }
        }
    }

    /// The owner has closed the file: its locks of `fcntl` go.
    pub fn forget(&self, node: u64, owner: u64) {
        let gone = self.owned().remove(&(node, owner));
        if gone.is_some() {
            drop(gone);
            self.unlocked();
        }
    }

    /// Something may have been unlocked.
    pub fn unlocked(&self) {
        let mut waiting = self.waiting();
        if !waiting.list.is_empty() {
            waiting.unlocked = true;
            self.changed.notify_one();
        }
    }

    /// Takes a request that waits out of the list; whether there was one.
    pub fn interrupt(&self, unique: u64) -> bool {
        let mut waiting = self.waiting();
        let before = waiting.list.len();
        waiting.list.retain(|wanted| wanted.unique != unique);
        waiting.list.len() < before
    }

    /// Whether a thread is needed that calls [`Self::wait`], from now on.
    pub fn needs_thread(&self) -> bool {
        let mut waiting = self.waiting();
        let needed = !waiting.running && !waiting.list.is_empty();
        waiting.running |= needed;
        needed
    }

    /// The connection has ended, and [`Self::wait`] ends.
    pub fn end(&self) {
        self.waiting().ended = true;
        self.changed.notify_all();
    }

    /// Tries for what waits, until the connection ends; `answer` sends a reply.
    pub fn wait(&self, jail: &Jail, answer: impl Fn(u64, Result<(), Errno>)) {
        let mut pause = SOON;
        loop {
            let mut waiting = self.waiting();
            while waiting.list.is_empty() && !waiting.ended {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                pause = SOON;
            }
            if !waiting.unlocked && !waiting.ended {
                waiting = self.changed.wait_timeout(waiting, pause).unwrap_or_else(PoisonError::into_inner).0;
            }
            if waiting.ended {
                return;
            }
            pause = if waiting.unlocked { SOON } else { (pause * 2).min(LATE) };
            waiting.unlocked = false;
            // In the list's order, and under its lock: an interrupt comes before or after.
            waiting.list.retain(|wanted| match self.set(jail, wanted) {
                Err(Errno::AGAIN | Errno::ACCESS) => true,
                done => {
                    answer(wanted.unique, done);
                    false
                }
            });
        }
    }
}
