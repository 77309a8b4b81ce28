//! `pause` and `resume`.

use crate::error::{Error, Result};
use crate::record::Existing;
use libcontainer::container::ContainerStatus;

/// Freezes all processes.
pub fn pause(mut existing: Existing) -> Result<()> {
    if existing.container.status() != ContainerStatus::Running {
        return Err(Error::message(format!("container is not running: {}", existing.status())));
    }
    existing.container.pause().map_err(|err| Error::because("pause", err))
}

/// Thaws them.
pub fn resume(mut existing: Existing) -> Result<()> {
    if existing.container.status() != ContainerStatus::Paused {
        return Err(Error::message(format!("container is not paused: {}", existing.status())));
    }
    existing.container.resume().map_err(|err| Error::because("resume", err))
}
