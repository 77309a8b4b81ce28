//! The words that every part of Hako shares: identifiers, names, the choice of
//! wall, error kinds, and what the engine tells a shim. Pure: no I/O, no async.

mod error;
mod id;
mod isolation;
pub mod policy;
mod sandbox;

pub use error::{Error, ErrorKind, Result};
pub use id::{ContainerId, IdError, NameError, validate_name};
pub use isolation::{Isolation, IsolationError};
pub use sandbox::{
    BootConfig, Disk, ExitDetails, LogConfig, LogDriver, SandboxConfig, ShimState, ShimPhase, VmConfig,
};
