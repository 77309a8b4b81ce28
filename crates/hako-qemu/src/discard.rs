//! What a copy's QEMU does to its template: nothing. It is asked first, by way of
//! its system calls ([`hako_os::notify`]).
//!
//! QEMU opens the file of its memory for writing, though it maps it privately. It
//! is given one that can only be read: a QEMU that was broken into cannot change
//! what all machines begin with.
//!
//! QEMU discards a range of memory that is in a file by a hole in the file, and
//! then drops its own pages. The hole would be in every copy's memory. So of holes,
//! one in
//! the template's file is said to be made and is not, and the pages are dropped
//! all the same; any other (a disk's) is made.
//!
//! A page that is dropped is the template's again. A kernel that counts on free
//! pages being zeroes (`init_on_free`, page poisoning) would take that for one:
//! where it is not known to be none, such a hole is refused, and QEMU keeps what
//! it has.

#![allow(unsafe_code)]
// UNSAFETY: registering a descriptor with the runtime's reactor.

use hako_os::notify::{Call, Listener, Word};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::Arc,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Answers for the holes of QEMU's process `pid`, until that has ended. `drops`
/// says whether its guest may find other pages than it has freed.
///
/// `place` is the path by which it opens `memory`, a file open for reading alone.
pub(crate) async fn serve(listener: Listener, pid: i32, memory: Arc<OwnedFd>, place: String, drops: bool) {
    if let Err(err) = answer_all(listener, pid, &memory, place.as_bytes(), drops).await {
        // QEMU hears of an error: one that has its memory goes on.
        tracing::warn!("the template of a machine: {err}");
    }
}

async fn answer_all(listener: Listener, pid: i32, memory: &Arc<OwnedFd>, place: &[u8], drops: bool) -> io::Result<()> {
    let template = identity(&File::from(memory.try_clone()?).metadata()?);
    let listener = register(listener)?;
    loop {
        let mut ready = listener.readable().await?;
        match listener.get_ref().next() {
            Ok(Some(Call::Open { id, path })) if path == place => {
                listener.get_ref().give(id, memory.as_fd())?;
            }
            // Any other is QEMU's to open, as far as it may.
            Ok(Some(Call::Open { id, .. })) => listener.get_ref().answer(id, Word::Make)?,
            Ok(Some(Call::Hole { id, fd })) => {
                // A file that is not seen is not the template's: that is open for as long as QEMU runs.
                let held = std::fs::metadata(format!("/proc/{pid}/fd/{fd}"));
                let word = match held.is_ok_and(|held| identity(&held) == template) {
                    true if drops => Word::Pretend,
                    true => Word::Refuse,
                    false => Word::Make,
                };
                listener.get_ref().answer(id, word)?;
            }
            Ok(None) => ready.clear_ready(),
            Err(err) if err.kind() == io::ErrorKind::NotConnected => return Ok(()),
            Err(err) => return Err(err),
        }
    }
}

fn identity(meta: &std::fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn register(listener: Listener) -> io::Result<AsyncFd<Listener>> {
    // SAFETY: the listener owns its descriptor, and moves into the registration.
    Ok(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?)
}
