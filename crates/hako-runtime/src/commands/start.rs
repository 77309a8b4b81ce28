//! `start`: lets the created process run.

use super::open_log;
use crate::cli::Globals;
use crate::error::{Error, Result};
use crate::record::{Existing, Status};
use crate::report;

/// Starts a created container.
pub fn run(globals: &Globals, existing: &Existing) -> Result<()> {
    let status = existing.status();
    if status != Status::Created {
        return Err(Error::message(format!("cannot start a container that has {status}")));
    }
    report::start(open_log(globals)?, globals.debug);
    existing.folder.start()
}
