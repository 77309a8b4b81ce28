//! The empty ext4 that containers behind the hyperv wall write on.

use crate::{Error, Result, erofs::run};
use std::{fs::File, path::Path, process::Command};

/// Makes a sparse ext4 of `size` bytes with the files of the folder `from`, at the
/// new file `out`.
///
/// On a file mkfs knows the unwritten inode tables to be zero: the guest has
/// nothing to initialize later. The journal is left unwritten for the same
/// reason, and the file stays a few hundred KiB and what `from` has.
///
/// # Errors
/// [`Error::NoProgram`] without mkfs.ext4; I/O errors. `out` is then removed.
pub fn ext4_of(from: &Path, size: u64, out: &Path) -> Result<()> {
    let made = File::options()
        .write(true)
        .create_new(true)
        .open(out)
        .and_then(|file| file.set_len(size))
        .map_err(Error::host(format!("make {}", out.display())));
    let done = made.and_then(|()| {
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0", "-O", "^resize_inode", "-E", "root_owner=0:0,lazy_journal_init=1"]);
        mkfs.arg("-d").arg(from).arg(out);
        run(mkfs, "mkfs.ext4", "e2fsprogs")
    });
    if done.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(out);
    }
    done
}
