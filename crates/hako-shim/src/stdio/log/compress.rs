//! Compressing a file that has been written to its end, on a thread that lives
//! only as long.

use flate2::{Compression, GzBuilder};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use tokio::sync::oneshot;

/// Starts making `<path>.gz` of the file at `path`, which goes when that is
/// whole. The receiver hears when it is done. `last` is the time of the last record.
pub(super) fn start(path: PathBuf, last: String) -> Option<oneshot::Receiver<()>> {
    let (done, waiting) = oneshot::channel();
    let work = move || {
        if let Err(err) = compress(&path, &last) {
            // It stays as it was, and is read as it is.
            tracing::error!("compress log {}: {err}", path.display());
        }
        // A log that has been closed waits no more.
        let _ = done.send(());
    };
    match std::thread::Builder::new().name("compress".to_owned()).stack_size(256 << 10).spawn(work) {
        Ok(_) => Some(waiting),
        Err(err) => {
            tracing::error!("compress a log: {err}");
            None
        }
    }
}

/// The file under another name first, so that one that is called `.gz` is whole.
fn compress(path: &Path, last: &str) -> io::Result<()> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (part, whole) = (named(".gz.part"), named(".gz"));
    let mut from = File::open(path)?;
    let written = write(&mut from, &part, last);
    if let Err(err) = written {
        // What cannot be removed is written over next time.
        let _ = fs::remove_file(&part);
        return Err(err);
    }
    fs::rename(&part, &whole)?;
    fs::remove_file(path)
}

/// The head names the file that this was, by which somebody who still reads
/// that one finds its place among the others.
fn write(from: &mut File, part: &Path, last: &str) -> io::Result<()> {
    let inode = from.metadata()?.ino();
    let head = format!("{{\"inode\":{inode},\"lastTime\":\"{last}\"}}");
    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(part)?;
    let mut encoder = GzBuilder::new().comment(head).write(to, Compression::default());
    io::copy(from, &mut encoder)?;
    // The plain file goes after this: the other must be on the disk.
    encoder.finish()?.sync_data()
}
