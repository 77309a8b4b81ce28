//! Files and directories that the guest has open. Each is a descriptor here,
//! so that a file lives on without a name, and locks and positions are its own.

use crate::nodes::Node;
use rustix::io::Errno;
use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many descriptors there may be.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

/// One of them.
#[derive(Debug)]
pub struct Slot(Arc<Budget>);

impl Budget {
    /// For `most`.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// Takes one.
    ///
    /// # Errors
    /// `ENFILE` if none is left.
    pub fn take(self: &Arc<Self>) -> Result<Slot, Errno> {
        let more = |used: usize| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::NFILE)?;
        Ok(Slot(self.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open file or directory.
#[derive(Debug)]
pub struct Open {
    /// What it is of.
    pub node: Option<Arc<Node>>,
    fd: Option<OwnedFd>,
    /// Where a directory is read; the position is the descriptor's own, so that
    /// one request at a time may move it.
    pub position: Mutex<u64>,
    _slot: Slot,
}

impl Open {
    /// The descriptor.
    ///
    /// # Errors
    /// It is the root, which is no directory of the host.
    pub fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<u64, Arc<Open>>,
    last: u64,
}

/// All that is open.
#[derive(Debug)]
pub struct Opened {
    table: Mutex<Table>,
    budget: Arc<Budget>,
}

impl Opened {
    /// Nothing yet.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { table: Mutex::default(), budget }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more.
    ///
    /// # Errors
    /// `ENFILE`.
    pub fn slot(&self) -> Result<Slot, Errno> {
        self.budget.take()
    }

    /// Adds one; without a descriptor it is the root's.
    pub fn add(&self, node: Option<Arc<Node>>, fd: Option<OwnedFd>, slot: Slot) -> u64 {
        let mut table = self.table();
        table.last += 1;
        let id = table.last;
        table.by_id.insert(id, Arc::new(Open { node, fd, position: Mutex::new(0), _slot: slot }));
        id
    }

    /// The one with this number, if it is of this node.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, id: u64, node: u64) -> Result<Arc<Open>, Errno> {
        let open = self.table().by_id.get(&id).cloned().ok_or(Errno::BADF)?;
        if open.node.as_ref().map_or(crate::nodes::ROOT, |node| node.id) == node { Ok(open) } else { Err(Errno::BADF) }
    }

    /// Closes it.
    pub fn close(&self, id: u64, node: u64) {
        if self.get(id, node).is_ok() {
            // Closed outside the lock, once the last request on it is done.
            let closed = self.table().by_id.remove(&id);
            drop(closed);
        }
    }
}
