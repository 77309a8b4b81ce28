//! Raw mode, and its end on every way out.

use crate::error::Result;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

/// What the terminal was before, while it is raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is raw while this lives.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Makes the terminal on stdin raw, if stdin is one.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let saved = tcgetattr(stdin().as_fd()).map_err(std::io::Error::from)?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        if let Ok(mut slot) = SAVED.lock() {
            slot.get_or_insert(saved);
        }
        tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &raw).map_err(std::io::Error::from)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; does nothing if it was not changed.
pub(crate) fn restore() {
    if let Some(saved) = SAVED.lock().ok().and_then(|mut slot| slot.take()) {
        let _ = tcsetattr(stdin().as_fd(), SetArg::TCSADRAIN, &saved);
    }
}

/// The terminal's rows and columns: stdout's, else stdin's.
pub(crate) fn size() -> Option<(u16, u16)> {
    query(stdout().as_fd()).or_else(|| query(stdin().as_fd()))
}

fn query(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
