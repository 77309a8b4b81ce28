//! Interrupts are seen between two measurements, so that what was started is
//! ended first.
//!
//! A handler, not a blocked signal: children would inherit the blocking, and
//! engines under measure must end on SIGTERM.
#![allow(unsafe_code)]
// UNSAFETY: installing a signal handler is an unsafe call.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::sync::atomic::{AtomicBool, Ordering};

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    SEEN.store(true, Ordering::Relaxed);
}

/// From here on SIGINT and SIGTERM are only noted.
pub fn hold_back() -> Result<()> {
    for which in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is
        // async-signal-safe; this module installs no other.
        unsafe { signal(which, SigHandler::Handler(note)) }.context("holding back interrupts")?;
    }
    Ok(())
}

/// Fails once one has come.
pub fn check() -> Result<()> {
    ensure!(!SEEN.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
