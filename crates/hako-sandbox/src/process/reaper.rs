//! One waiter for all children of the process.
//!
//! The container's first process is a grandchild that is handed to this process
//! when `hako-runtime` ends, so every exit is collected here, by one
//! `waitpid(-1)`. In a process that has a [`Reaper`], nothing else may wait for
//! a child: no `tokio::process`, no `Child::wait`.

use std::{
    collections::HashMap,
    io,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use hako_os::process::Ended;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255; death by signal n is 128+n.
    pub code: i32,
    /// When it was collected.
    pub at: SystemTime,
}

/// Collects the ends of all children. Clones share one table.
#[derive(Debug, Clone)]
pub struct Reaper(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    watched: HashMap<i32, watch::Sender<Option<Exit>>>,
    /// Ends of pids that nobody has named yet; kept while a [`Hold`] lives.
    early: HashMap<i32, Exit>,
    holds: usize,
}

/// While it lives, the end of a child that is not watched yet is kept for it.
#[derive(Debug)]
pub struct Hold(Reaper);

/// One child's end, now or later.
#[derive(Debug, Clone)]
pub struct Watch {
    pid: i32,
    exit: watch::Receiver<Option<Exit>>,
}

impl Reaper {
    /// Makes this process the reaper of its orphaned descendants and starts
    /// collecting. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The kernel's, where the signal handler or the subreaper flag is refused.
    pub fn start() -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut sigchld = signal(SignalKind::child())?;
        let reaper = Self(Arc::default());
        let table = reaper.clone();
        tokio::spawn(async move {
            loop {
                table.collect();
                if sigchld.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(reaper)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects every child that has ended. The lock is held throughout, so that
    /// a pid in the table is never one that the kernel has already given away.
    fn collect(&self) {
        let mut table = self.table();
        while let Some(Ended { pid, code }) = hako_os::process::reap() {
            let exit = Exit { code, at: SystemTime::now() };
            if let Some(sender) = table.watched.remove(&pid) {
                sender.send_replace(Some(exit));
            } else if table.holds > 0 {
                table.early.insert(pid, exit);
            }
        }
    }

    /// Keeps the ends of unnamed children until the result is dropped. Take it
    /// before anything that makes a child whose pid is learnt later.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.table().holds += 1;
        Hold(self.clone())
    }

    /// The end of `pid`, a child of this process. Call it under a [`Hold`] taken
    /// before the child was made.
    #[must_use]
    pub fn watch(&self, pid: i32) -> Watch {
        let mut table = self.table();
        if let Some(sender) = table.watched.get(&pid) {
            return Watch { pid, exit: sender.subscribe() };
        }
        let (sender, exit) = watch::channel(table.early.remove(&pid));
        if exit.borrow().is_none() {
            table.watched.insert(pid, sender);
        }
        Watch { pid, exit }
    }

    /// Starts `command` and watches it.
    ///
    /// # Errors
    /// As `Command::spawn`.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Watch> {
        let _hold = self.hold();
        let child = command.spawn()?;
        Ok(self.watch(child.id().cast_signed()))
    }

    /// Sends `signal` to a watched child. Never reaches a stranger that was
    /// given the same pid: only an uncollected child is in the table.
    ///
    /// # Errors
    /// `ESRCH` if it has ended, else the kernel's.
    pub fn signal(&self, watch: &Watch, signal: i32) -> io::Result<()> {
        let table = self.table();
        if !table.watched.contains_key(&watch.pid) {
            return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
        }
        hako_os::process::kill(watch.pid, signal)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut table = self.0.table();
        table.holds -= 1;
        if table.holds == 0 {
            table.early.clear();
        }
    }
}

impl Watch {
    /// The watched pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }
    /// The end, if it has come.
    #[must_use]
    pub fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }
    /// Waits for the end; any number of times.
    ///
    /// # Errors
    /// `BrokenPipe` if the reaper is gone.
    pub async fn wait(&self) -> io::Result<Exit> {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        exit.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
