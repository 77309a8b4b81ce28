//! `pause` and `resume`.

use crate::error::{Error, Result};
use crate::record::{Existing, Status};

/// Freezes all processes.
pub fn pause(existing: &Existing) -> Result<()> {
    let status = existing.status();
    if status != Status::Running {
        return Err(Error::message(format!("container is not running: {status}")));
    }
    existing.cgroup()?.freeze(true)
}

/// Thaws them.
pub fn resume(existing: &Existing) -> Result<()> {
    let status = existing.status();
    if status != Status::Paused {
        return Err(Error::message(format!("container is not paused: {status}")));
    }
    existing.cgroup()?.freeze(false)
}
