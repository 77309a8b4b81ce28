//! Host folders behind the hyperv wall: a process of the host serves them to
//! the guest, which has all of them in one mount in the bundle, by their
//! numbers. From there the runtime binds them into the container, as it binds
//! the host's folders behind the process wall.

use super::RootMount;
use crate::containers::record::Record;
use hako_api::types::MountPoint;
use hako_model::{Error, Isolation, Result, SHARES_DIR, SHARES_PORT, Share};
use std::{os::unix::fs::FileTypeExt, path::PathBuf};

/// Whether it is a folder or file of the host.
pub fn is_shared(point: &&MountPoint) -> bool {
    matches!(point.r#type.as_str(), "bind" | "volume")
}

/// Where the runtime finds the n-th of them: on the host itself, or in the guest's bundle.
pub fn source(wall: Isolation, n: usize, point: &MountPoint) -> String {
    match wall {
        Isolation::Process => point.source.clone(),
        Isolation::Hyperv => format!("{SHARES_DIR}/{n}"),
    }
}

/// What the guest is given.
///
/// # Errors
/// A source that is neither a folder nor a file, which means nothing in another kernel.
pub fn of(record: &Record) -> Result<Vec<Share>> {
    record.mounts.iter().filter(is_shared).map(share).collect()
}

fn share(point: &MountPoint) -> Result<Share> {
    let source = PathBuf::from(&point.source);
    if let Ok(meta) = source.metadata() {
        let kind = meta.file_type();
        let what = match kind {
            _ if kind.is_socket() => Some("a socket"),
            _ if kind.is_fifo() => Some("a pipe"),
            _ if kind.is_block_device() || kind.is_char_device() => Some("a device"),
            _ => None,
        };
        if let Some(what) = what {
            let text =
                format!("{what} of the host ({}) behind the hyperv wall: it leads to the host's kernel", point.source);
            return Err(Error::unsupported(text));
        }
    }
    Ok(Share { source, read_only: !point.rw })
}

/// The mount in the guest's bundle.
pub fn mount() -> RootMount {
    RootMount {
        type_: "fuse".to_owned(),
        source: SHARES_PORT.to_owned(),
        target: SHARES_DIR.to_owned(),
        ..RootMount::default()
    }
}
