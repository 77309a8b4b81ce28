//! Pseudo-terminals.
#![allow(unsafe_code)]
// UNSAFETY: the window's size is set by an ioctl.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Sets the size of the terminal whose master is `master`, in character cells.
///
/// # Errors
/// The kernel's, for instance `ENOTTY`.
pub fn set_size(master: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which `size` is; the descriptor is
    // borrowed and so open.
    match unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
