//! The words that every part of Hako shares: identifiers, names, the choice of
//! wall, error kinds, and what the engine tells a shim. Pure: no I/O, no async.

mod digest;
mod error;
mod figures;
mod id;
mod isolation;
mod network;
pub mod policy;
pub mod reference;
pub mod resources;
mod sandbox;

pub use digest::{Digest, DigestError};
pub use error::{Error, ErrorKind, Result};
pub use figures::{
    KernelFigures, MOST_COMMAND, MOST_COMMAND_BYTES, MOST_PROCESSES, ProcessFacts, ProcessList, VmFigures,
};
pub use id::{ContainerId, IdError, NameError, validate_name};
pub use isolation::{Isolation, IsolationError};
pub use network::{GuestInterface, MOST_HOSTS, NetworkChange, VmNetwork, merge_hosts};
pub use reference::{ImageName, Reference, Repository};
pub use sandbox::{
    BootConfig, Disk, ExitDetails, LogConfig, LogDriver, OpenFile, Origin, SHARES_DIR, SHARES_PORT, SHARES_WINDOW,
    SandboxConfig, Share, Shares, ShimPhase, ShimState, Take, TemplateFiles, VmConfig, VmProcess, WINDOW_SLOT,
    WINDOW_SLOTS, WaitConfig, WaitMount,
};

/// The names of `--ulimit`, as Docker's go-units has them: without `as`, which
/// would limit the runtime that starts the container.
pub const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
