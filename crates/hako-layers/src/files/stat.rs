//! What lies at a path.

use super::{
    failed,
    names::{base_name, follows},
    root::{Root, kind_of, stat_of},
};
use hako_model::{Error, ErrorKind, Result};
use rustix::fs::{FileType, OFlags, Statx, StatxAttributes};
use std::os::fd::{AsFd, OwnedFd};

/// What Docker's `ContainerPathStat` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The last component of the path.
    pub name: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// The kernel's `st_mode`.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Of a link: where it leads to in the container, all links followed.
    pub link_target: Vec<u8>,
}

/// Looks at `path`; a link at its end is not followed unless a slash follows it.
///
/// # Errors
/// `NotFound`; the kernel's.
pub fn stat(root: &Root, path: &[u8]) -> Result<FileStat> {
    open(root, path).map(|(_, stat, _)| stat)
}

/// The open file, what is told of it, and all that the kernel said.
pub(super) fn open(root: &Root, path: &[u8]) -> Result<(OwnedFd, FileStat, Statx)> {
    let fd = root.find(path, OFlags::NOFOLLOW).map_err(failed("lstat", path))?;
    let stat = stat_of(&fd).map_err(failed("lstat", path))?;
    // The mount point itself is there in Docker as well, and empty.
    let point = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    if !point && is_pseudo(&fd).map_err(failed("lstat", path))? {
        return Err(failed("lstat", path)(rustix::io::Errno::NOENT));
    }
    let link_target = match kind_of(&stat) {
        FileType::Symlink if !follows(path) => root.follow(path).map_err(failed("readlink", path))?,
        _ => Vec::new(),
    };
    let told = FileStat {
        name: base_name(path).to_vec(),
        size: stat.stx_size,
        mode: stat.stx_mode.into(),
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        link_target,
    };
    Ok((fd, told, stat))
}

/// Filesystems whose files are the kernel's own words. Docker's engine does not
/// see them in a container, and their files have no size to copy.
const PSEUDO: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x6269_6e6d, // binfmt_misc
];

/// Whether a file is on one of them.
pub(super) fn is_pseudo(fd: impl AsFd) -> rustix::io::Result<bool> {
    let kind = rustix::fs::fstatfs(fd)?.f_type;
    // The field is signed on some machines; the numbers are 32 bits on all.
    Ok(PSEUDO.contains(&(kind as u64 & 0xffff_ffff)))
}

/// Go's `os.FileMode` of the kernel's mode.
#[must_use]
pub fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::RegularFile => 0,
        FileType::Unknown => 1 << 19,
    };
    let bit = |kernel: u32, go: u32| if mode & kernel == 0 { 0 } else { 1 << go };
    kind | bit(0o4000, 23) | bit(0o2000, 22) | bit(0o1000, 20) | (mode & 0o777)
}

/// That something is deeper than [`super::MAX_DEPTH`].
pub(super) fn too_deep(path: &[u8]) -> Error {
    let path = crate::error::show(path);
    Error::new(ErrorKind::Internal, format!("{path} is nested deeper than {} directories", super::MAX_DEPTH))
}
