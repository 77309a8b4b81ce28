//! Room that is kept back on a full disk: to remove something the database and
//! the folders need a few blocks of their own.

use crate::{Error, Result, Store};
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// What a removal takes: the database's log, a folder, a few names.
const BYTES: u64 = 8 << 20;
const NAME: &str = "reserve";

/// Gives the room back to the disk.
pub(crate) fn release(root: &Path) {
    // Absent is as good.
    let _ = fs::remove_file(root.join(NAME));
}

/// Takes it again, or as much of it as the disk has to give. One that has none
/// will have some later.
pub(crate) fn take(root: &Path) {
    let path = root.join(NAME);
    for bytes in [BYTES, BYTES / 2, BYTES / 4, BYTES / 8] {
        if path.metadata().is_ok_and(|meta| meta.len() >= bytes) {
            return;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let taken = file.and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?));
        if taken.is_ok() {
            return;
        }
        // What a failed try has taken is more than what was asked for last.
        release(root);
    }
}

impl Error {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Database(rusqlite::Error::SqliteFailure(code, _)) => {
                code.code == rusqlite::ErrorCode::DiskFull || code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }
            _ => false,
        }
    }
}

impl Store {
    /// Does what makes room, on a full disk with the room that was kept back.
    pub(crate) fn making_room<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(err) if err.is_full() => {
                release(self.root());
                let done = work();
                take(self.root());
                done
            }
            other => {
                take(self.root());
                other
            }
        }
    }
}
