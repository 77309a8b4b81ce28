//! Host folders behind the hyperv wall: a process of the host serves them to
//! the guest, which has all of them in one mount in the bundle, by their
//! numbers. From there the runtime binds them into the container, as it binds
//! the host's folders behind the process wall.

use super::RootMount;
use crate::containers::record::Mounted;
use hako_model::{Error, Result, SHARES_DIR, SHARES_PORT, Share};
use std::{os::unix::fs::FileTypeExt, path::PathBuf};

/// Where the runtime finds the n-th of them, in the guest's bundle.
pub fn source(n: usize) -> String {
    format!("{SHARES_DIR}/{n}")
}

/// What the guest is given of `source`.
///
/// # Errors
/// A source that is neither a folder nor a file, which means nothing in another kernel.
pub fn share(source: PathBuf, mounted: &Mounted) -> Result<Share> {
    if let Ok(meta) = source.metadata() {
        let kind = meta.file_type();
        let what = match kind {
            _ if kind.is_socket() => Some("a socket"),
            _ if kind.is_fifo() => Some("a pipe"),
            _ if kind.is_block_device() || kind.is_char_device() => Some("a device"),
            _ => None,
        };
        if let Some(what) = what {
            let shown = source.display();
            let text = format!("{what} of the host ({shown}) behind the hyperv wall: it leads to the host's kernel");
            return Err(Error::unsupported(text));
        }
    }
    Ok(Share {
        source,
        beneath: mounted.subpath.clone().into(),
        read_only: !mounted.point.rw,
        non_recursive: mounted.non_recursive,
    })
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
