//! stdin, read by a thread of its own: a terminal, a pipe and a file alike, and
//! none of them made non-blocking, which would reach whoever shares them.

use bytes::Bytes;
use std::os::fd::AsFd;
use tokio::sync::mpsc;

/// Pieces of stdin until its end.
pub(crate) fn read_stdin() -> mpsc::Receiver<Bytes> {
    let (queue, pieces) = mpsc::channel(8);
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match nix::unistd::read(stdin.as_fd(), &mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if queue.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        break;
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) if wait_readable(stdin.as_fd()) => {}
                Err(_) => break,
            }
        }
    });
    pieces
}

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE).is_ok()
}
