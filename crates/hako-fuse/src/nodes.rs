//! The inodes that the guest knows: each was found by a name in a directory
//! that it knew before, and stays until the guest forgets it.
//!
//! A node keeps no file open where the filesystem has handles of inodes: what
//! the guest has merely seen can be removed on the host, and its blocks are
//! free. Directories are kept open all the same, up to a number: they are what
//! names are looked up in.

use crate::{jail::Jail, wire::Attributes};
use hako_os::handle::{self, Handle};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx},
    io::Errno,
};
use std::{
    collections::HashMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The mount's own root, in which the shares lie: it is in nobody's folder.
pub const ROOT: u64 = 1;
/// More than this one guest cannot have seen at a time: 200 bytes each.
const MOST: usize = 1 << 20;
/// Mounts below the shares that are kept.
const MOST_MOUNTS: usize = 1024;
/// Numbers of devices that are kept apart.
const MOST_DEVICES: usize = 1 << 15;
/// Bits of an inode's number, above which its device is counted.
const INO_BITS: u32 = 48;

/// All that is asked of an inode.
pub const WANTED: StatxFlags = StatxFlags::BASIC_STATS;

/// What tells an inode from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// A folder that is shared twice, once read-only, is two.
    read_only: bool,
    device: (u32, u32),
    name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Handle(Handle),
    /// Where there are no handles; the inode is kept open, or the number could become another's.
    Number(u64),
}

/// How it is reached.
#[derive(Debug)]
enum Place {
    Open(OwnedFd),
    Handle(Arc<OwnedFd>, Handle),
}

/// When a file was what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    size: u64,
    changed: (i64, u32),
    modified: (i64, u32),
}

impl Version {
    /// Of a file as it is.
    #[must_use]
    pub fn of(stat: &Statx) -> Self {
        Self {
            size: stat.stx_size,
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        }
    }

    /// The seconds of its last change.
    #[must_use]
    pub fn second(&self) -> i64 {
        self.changed.0.max(self.modified.0)
    }
}

/// What the guest has been told of a file.
#[derive(Debug, Default)]
pub struct Told {
    /// By its attributes.
    pub attributes: Option<Version>,
    /// As it was when it was opened last, if no change since can have the same times.
    pub opened: Option<Version>,
    /// When an open was last sent back, since the attributes had become others.
    pub refused: Option<Instant>,
}

/// One inode.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// What kind of file it is.
    pub kind: FileType,
    /// Reached by a read-only share.
    pub read_only: bool,
    /// What the guest has been told.
    pub told: Mutex<Told>,
    key: Key,
    place: Place,
}

/// A descriptor of a node, for one request.
#[derive(Debug)]
pub enum Borrowed<'a> {
    /// The node's own.
    Node(BorrowedFd<'a>),
    /// Made for this.
    Made(OwnedFd),
}

impl AsFd for Borrowed<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Node(fd) => *fd,
            Self::Made(fd) => fd.as_fd(),
        }
    }
}

impl Node {
    /// A descriptor (`O_PATH`) of the inode.
    ///
    /// # Errors
    /// `ESTALE` if it is gone.
    pub fn fd(&self) -> Result<Borrowed<'_>, Errno> {
        match &self.place {
            Place::Open(fd) => Ok(Borrowed::Node(fd.as_fd())),
            Place::Handle(mount, handle) => {
                let fd = handle::open(mount.as_fd(), handle, libc::O_PATH).map_err(|err| errno(&err))?;
                Ok(Borrowed::Made(fd))
            }
        }
    }

    /// As [`Self::fd`], of a directory.
    ///
    /// # Errors
    /// As there, and `ENOTDIR`.
    pub fn dir(&self) -> Result<Borrowed<'_>, Errno> {
        if self.kind == FileType::Directory { self.fd() } else { Err(Errno::NOTDIR) }
    }

    /// What has been told of it.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of an error.
#[must_use]
pub fn errno(err: &std::io::Error) -> Errno {
    Errno::from_io_error(err).unwrap_or(Errno::IO)
}

#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    lookups: u64,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<u64, Known>,
    by_key: HashMap<Key, u64>,
    last: u64,
    /// How many keep a descriptor.
    open: usize,
    /// Descriptors by which handles are opened, by the number of their mount.
    mounts: HashMap<i32, Arc<OwnedFd>>,
    devices: HashMap<(u32, u32), u64>,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    table: Mutex<Table>,
    /// How many may keep a descriptor.
    most_open: usize,
}

impl Nodes {
    /// None but those that are found.
    #[must_use]
    pub fn new(most_open: usize) -> Self {
        let table = Table { last: ROOT, ..Table::default() };
        Self { table: Mutex::new(table), most_open }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node with this number.
    ///
    /// # Errors
    /// `ESTALE` if the guest knows none.
    pub fn get(&self, id: u64) -> Result<Arc<Node>, Errno> {
        self.table().by_id.get(&id).map(|known| known.node.clone()).ok_or(Errno::STALE)
    }

    /// The node of what `fd` is open for with `O_PATH`, seen once more.
    ///
    /// # Errors
    /// The kernel's; `ENFILE` when there are too many.
    pub fn find(&self, jail: &Jail, fd: OwnedFd, read_only: bool) -> Result<(Arc<Node>, Attributes), Errno> {
        let stat = stat(fd.as_fd())?;
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        let handle = handle::of(fd.as_fd()).ok();
        let name = match &handle {
            Some((handle, _)) => Name::Handle(handle.clone()),
            None => Name::Number(stat.stx_ino),
        };
        let key = Key { read_only, device, name };
        let mut table = self.table();
        let attributes = Attributes { ino: table.ino(device, stat.stx_ino), stat };
        if let Some(id) = table.by_key.get(&key).copied()
            && let Some(known) = table.by_id.get_mut(&id)
        {
            known.lookups = known.lookups.saturating_add(1);
            return Ok((known.node.clone(), attributes));
        }
        if table.by_id.len() >= MOST {
            return Err(Errno::NFILE);
        }
        let place = self.place(&mut table, jail, fd, kind, handle)?;
        table.last += 1;
        let id = table.last;
        let node = Arc::new(Node { id, kind, read_only, told: Mutex::default(), key: key.clone(), place });
        table.by_key.insert(key, id);
        table.by_id.insert(id, Known { node: node.clone(), lookups: 1 });
        Ok((node, attributes))
    }

    fn place(
        &self,
        table: &mut Table,
        jail: &Jail,
        fd: OwnedFd,
        kind: FileType,
        handle: Option<(Handle, i32)>,
    ) -> Result<Place, Errno> {
        let room = table.open < self.most_open;
        let mount = handle.as_ref().and_then(|(_, mount)| table.mount(*mount, jail, fd.as_fd(), kind));
        match (handle, mount) {
            (Some((handle, _)), Some(mount)) if kind != FileType::Directory || !room => {
                Ok(Place::Handle(mount, handle))
            }
            _ if room => {
                table.open += 1;
                Ok(Place::Open(fd))
            }
            _ => Err(Errno::NFILE),
        }
    }

    /// The number that the guest sees.
    pub fn ino(&self, stat: &Statx) -> u64 {
        self.table().ino((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
    }

    /// The number of an entry of `dir`, which says no more than that.
    pub fn entry_ino(&self, dir: &Node, ino: u64) -> u64 {
        self.table().ino(dir.key.device, ino)
    }

    /// The guest has forgotten `lookups` of the times that it was told of a node.
    pub fn forget(&self, id: u64, lookups: u64) {
        let mut table = self.table();
        let Some(known) = table.by_id.get_mut(&id) else { return };
        known.lookups = known.lookups.saturating_sub(lookups);
        if known.lookups > 0 {
            return;
        }
        let Some(known) = table.by_id.remove(&id) else { return };
        if matches!(known.node.place, Place::Open(_)) {
            table.open -= 1;
        }
        if table.by_key.get(&known.node.key) == Some(&id) {
            table.by_key.remove(&known.node.key);
        }
        drop(table);
        // What it kept is closed here, outside the lock.
        drop(known);
    }
}

impl Table {
    /// What the handles of a mount are opened by. One that is new is kept by
    /// the first directory that is found in it.
    fn mount(&mut self, id: i32, jail: &Jail, fd: BorrowedFd<'_>, kind: FileType) -> Option<Arc<OwnedFd>> {
        if let Some(mount) = self.mounts.get(&id) {
            return Some(mount.clone());
        }
        if kind != FileType::Directory || self.mounts.len() >= MOST_MOUNTS {
            return None;
        }
        let open = Arc::new(jail.reopen(fd, OFlags::RDONLY | OFlags::DIRECTORY).ok()?);
        self.mounts.insert(id, open.clone());
        Some(open)
    }

    /// Inodes of several filesystems are in one mount of the guest.
    fn ino(&mut self, device: (u32, u32), ino: u64) -> u64 {
        let next = self.devices.len().min(MOST_DEVICES) as u64;
        let device = match self.devices.get(&device) {
            Some(device) => *device,
            None => {
                if self.devices.len() < MOST_DEVICES {
                    self.devices.insert(device, next);
                }
                next
            }
        };
        ino.wrapping_add(device << INO_BITS)
    }
}

/// What `fd` is open for.
///
/// # Errors
/// The kernel's.
pub fn stat(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED)
}

/// The name of a descriptor in `/proc/self/fd`.
#[must_use]
pub fn number(fd: BorrowedFd<'_>) -> String {
    fd.as_raw_fd().to_string()
}

/// Looks `name` up in `dir`. It is one name, and a link is not followed.
///
/// # Errors
/// The kernel's.
pub fn look(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
