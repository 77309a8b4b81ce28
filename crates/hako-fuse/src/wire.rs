//! The FUSE protocol's bytes: requests of a guest's kernel, which are believed
//! in nothing, and what they are answered with.
//!
//! ```text
//! request: len, opcode, unique, nodeid, uid, gid, pid, 0, slot     40 bytes, then what the opcode has
//! reply:   len, -errno, unique                                     16 bytes, then what the opcode has
//! ```
//!
//! The slot is not the kernel's, which leaves two bytes of zeros there: the agent
//! in the guest says so that the data of a READ or WRITE passes through that slot
//! of the window ([`hako_model::SHARES_WINDOW`]). Such a WRITE ends where its data
//! would begin, and such a READ is answered with four bytes: how many there are.

use rustix::{fs::Statx, io::Errno};
use std::ffi::CStr;

/// The most bytes that one WRITE carries, and one READ answers.
pub const MAX_IO: usize = 1 << 20;
/// What comes before and beside the data of a request.
const MAX_REST: usize = 64 << 10;
/// The longest request.
pub const MAX_REQUEST: usize = MAX_IO + MAX_REST;
/// A request's head.
pub const HEAD: usize = 40;
/// A reply's head.
pub const REPLY_HEAD: usize = 16;

/// The protocol's version that is spoken; a kernel with a newer one speaks this one.
pub const MAJOR: u32 = 7;
/// The minor part of it.
pub const MINOR: u32 = 38;

/// What is asked for, by number.
#[allow(missing_docs)]
pub mod op {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const GETLK: u32 = 31;
    pub const SETLK: u32 = 32;
    pub const SETLKW: u32 = 33;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const TMPFILE: u32 = 51;
}

/// What can be agreed on at the start.
pub mod init {
    /// Several reads of one file at a time.
    pub const ASYNC_READ: u64 = 1 << 0;
    /// Locks of `fcntl` are asked for here.
    pub const POSIX_LOCKS: u64 = 1 << 1;
    /// `O_TRUNC` comes with the open.
    pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
    /// Writes of more than a page.
    pub const BIG_WRITES: u64 = 1 << 5;
    /// The umask is applied here, as default ACLs want it.
    pub const DONT_MASK: u64 = 1 << 6;
    /// Locks of `flock` are asked for here.
    pub const FLOCK_LOCKS: u64 = 1 << 10;
    /// Cached pages go when size or time of change turn out to be others.
    pub const AUTO_INVAL_DATA: u64 = 1 << 12;
    /// Directories are read with what each entry is.
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    /// Only where that is used.
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    /// Several direct reads and writes at a time.
    pub const ASYNC_DIO: u64 = 1 << 15;
    /// Several lookups in one directory at a time.
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    /// The guest's kernel knows access control lists.
    pub const POSIX_ACL: u64 = 1 << 20;
    /// Requests of more than 32 pages.
    pub const MAX_PAGES: u64 = 1 << 22;
    /// A symlink's text is asked for once.
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    /// Set-user-ID bits are cleared here, when a flag says so.
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    /// A set ACL says whether the set-group-ID bit goes.
    pub const SETXATTR_EXT: u64 = 1 << 29;
    /// There are more than 32 flags.
    pub const INIT_EXT: u64 = 1 << 30;
    /// Files of which nothing is cached can be mapped all the same.
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;

    /// All that is wanted.
    pub const WANTED: u64 = ASYNC_READ
        | POSIX_LOCKS
        | ATOMIC_O_TRUNC
        | BIG_WRITES
        | DONT_MASK
        | FLOCK_LOCKS
        | AUTO_INVAL_DATA
        | DO_READDIRPLUS
        | READDIRPLUS_AUTO
        | ASYNC_DIO
        | PARALLEL_DIROPS
        | POSIX_ACL
        | MAX_PAGES
        | CACHE_SYMLINKS
        | HANDLE_KILLPRIV_V2
        | SETXATTR_EXT
        | INIT_EXT
        | DIRECT_IO_ALLOW_MMAP;
}

/// The file's pages are not cached.
pub const FOPEN_DIRECT_IO: u32 = 1 << 0;
/// The file's cached pages are still good.
pub const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// An attribute of an inode has changed: said without being asked.
pub const NOTIFY_INVAL_INODE: i32 = 2;

/// A request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes, this head included.
    pub len: usize,
    /// One of [`op`].
    pub opcode: u32,
    /// What the reply says again.
    pub unique: u64,
    /// The inode, as the server has numbered it.
    pub node: u64,
    /// Who asks.
    pub uid: u32,
    /// With which group.
    pub gid: u32,
    /// Where its data passes, counted from one; 0: with it.
    pub slot: u16,
}

impl Head {
    /// Reads it; `None` for a length that no request has.
    #[must_use]
    pub fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let mut args = Args(bytes);
        let mut u32 = || args.u32().unwrap_or(0);
        let (len, opcode) = (u32(), u32());
        let unique = u64::from(u32()) | u64::from(u32()) << 32;
        let node = u64::from(u32()) | u64::from(u32()) << 32;
        let (uid, gid, _pid, last) = (u32(), u32(), u32(), u32());
        let slot = (last >> 16) as u16;
        let len = usize::try_from(len).ok()?;
        (HEAD..=MAX_REQUEST).contains(&len).then_some(Self { len, opcode, unique, node, uid, gid, slot })
    }
}

/// What a request has behind its head, read from the front. What is missing is `EINVAL`.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a>(pub &'a [u8]);

impl<'a> Args<'a> {
    /// The next `n` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Errno> {
        let (first, rest) = self.0.split_at_checked(n).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(first)
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u32(&mut self) -> Result<u32, Errno> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*first))
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u64(&mut self) -> Result<u64, Errno> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u64::from_ne_bytes(*first))
    }

    /// The next text, which ends with a zero.
    ///
    /// # Errors
    /// It does not end.
    pub fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.0 = &self.0[text.count_bytes() + 1..];
        Ok(text)
    }

    /// The next name of an entry of a directory: it leads nowhere else.
    ///
    /// # Errors
    /// It is none.
    pub fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.text()?;
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            bytes if bytes.len() > 255 => Err(Errno::NAMETOOLONG),
            _ => Ok(name),
        }
    }
}

/// A reply that grows.
#[derive(Debug, Default)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// Nothing but room for the head.
    pub fn clear(&mut self) {
        self.0.clear();
        self.0.resize(REPLY_HEAD, 0);
    }
    /// Adds four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }
    /// Adds eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }
    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    /// Fills in the head.
    pub fn seal(&mut self, unique: u64, error: i32) {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0[4..8].copy_from_slice(&error.to_ne_bytes());
        self.0[8..16].copy_from_slice(&unique.to_ne_bytes());
    }
    /// What an inode is.
    pub fn attributes(&mut self, attributes: &Attributes) {
        let (stat, seconds) = (&attributes.stat, |time: i64| time.cast_unsigned());
        self.u64(attributes.ino);
        self.u64(stat.stx_size);
        self.u64(stat.stx_blocks);
        self.u64(seconds(stat.stx_atime.tv_sec));
        self.u64(seconds(stat.stx_mtime.tv_sec));
        self.u64(seconds(stat.stx_ctime.tv_sec));
        self.u32(stat.stx_atime.tv_nsec);
        self.u32(stat.stx_mtime.tv_nsec);
        self.u32(stat.stx_ctime.tv_nsec);
        self.u32(u32::from(stat.stx_mode));
        self.u32(stat.stx_nlink);
        self.u32(stat.stx_uid);
        self.u32(stat.stx_gid);
        self.u32(device(stat.stx_rdev_major, stat.stx_rdev_minor));
        self.u32(stat.stx_blksize);
        self.u32(0);
    }
    /// An entry: the node that a name leads to, and how long both are good.
    pub fn entry(&mut self, node: u64, attributes: &Attributes, seconds: u64) {
        self.u64(node);
        self.u64(0);
        self.u64(seconds);
        self.u64(seconds);
        self.u32(0);
        self.u32(0);
        self.attributes(attributes);
    }
}

/// What an inode is, with the number that the guest sees.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Its number, which no other file of the guest's mount has.
    pub ino: u64,
    /// All the rest.
    pub stat: Statx,
}

/// A device's number as the kernel puts it into 32 bits.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_believed_within_bounds() {
        let mut bytes = [0; HEAD];
        for (len, good) in [(0_u32, false), (39, false), (40, true), (MAX_REQUEST as u32, true), (u32::MAX, false)] {
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Head::parse(&bytes).is_some(), good, "{len}");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        for bad in [&b"\0"[..], b".\0", b"..\0", b"a/b\0", b"/\0", b"no end", b""] {
            assert!(Args(bad).name().is_err(), "{bad:?}");
        }
        let mut two = Args(b"one\0two\0");
        assert_eq!((two.name().unwrap(), two.name().unwrap()), (c"one", c"two"));
        assert!(two.u32().is_err());
    }
}
