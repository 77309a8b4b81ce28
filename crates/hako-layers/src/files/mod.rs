//! The files of a container: what `docker cp`, `diff`, `export` and `commit`
//! read and write. One code for both walls: on the host it runs in the shim, in
//! a guest in the agent.
//!
//! The container's processes may change everything while this works. So every
//! name is resolved by the kernel in the container's root ([`Root`]), below it
//! everything goes by descriptors of what was looked at, nothing is opened but
//! regular files and directories, and memory has limits that no tree exceeds.

mod archive;
mod attributes;
mod changes;
mod copy;
mod extract;
mod layer;
mod names;
mod overlay;
mod owner;
mod pack;
mod root;
mod stat;
mod usage;

pub use archive::unpack_archive;
pub use changes::{ChangeKind, changes};
pub use copy::{Copy, CopySource, names};
pub use extract::{Destination, Extract};
pub use layer::layer;
pub use names::{base_name, clean};
pub use overlay::Overlay;
pub use owner::owner;
pub use pack::{Source, export};
pub use root::Root;
pub use stat::{FileStat, go_mode, stat};
pub use usage::usage;

use hako_model::{Error, ErrorKind};
use rustix::io::Errno;

/// Directories are followed this deep: each takes an open file, and what is
/// deeper could be no layer of an image either.
const MAX_DEPTH: usize = crate::MAX_DEPTH;

/// The kernel's answer about `path`, in the words and the order of Go's `os`,
/// which are Docker's.
pub(crate) fn failed(op: &str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    let what = format!("{op} {}", crate::error::show(path));
    move |errno| {
        let kind = match errno {
            Errno::NOENT => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, format!("{what}: {}", words(errno)))
    }
}

/// As [`failed`], for the standard library's calls.
pub(crate) fn failed_io(op: &str, path: &[u8]) -> impl FnOnce(std::io::Error) -> Error {
    let at = failed(op, path);
    let what = format!("{op} {}", crate::error::show(path));
    move |err| match Errno::from_io_error(&err) {
        Some(errno) => at(errno),
        None => Error::internal(format!("{what}: {err}")),
    }
}

fn words(errno: Errno) -> String {
    let text = nix::errno::Errno::from_raw(errno.raw_os_error()).desc();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Not an abbreviation, such as I/O.
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
