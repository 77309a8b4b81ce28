//! `start`: lets the created process run.

use super::open_log;
use crate::cli::Globals;
use crate::error::{Error, Result};
use crate::record::Existing;
use crate::report;
use libcontainer::container::{Container, ContainerStatus};

/// Starts a created container.
pub fn run(globals: &Globals, mut existing: Existing) -> Result<()> {
    if existing.container.status() != ContainerStatus::Created {
        return Err(Error::message(format!("cannot start a container that has {}", existing.status())));
    }
    let mut reports = report::start(open_log(globals)?, globals.debug)?;
    start(&mut existing.container).map_err(|err| reports.explain(err))
}

/// Lets the process of `container` run.
pub fn start(container: &mut Container) -> Result<()> {
    container.start().map_err(|err| Error::because("start", err))
}
