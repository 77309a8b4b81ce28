//! What is asked for, and by whom.

use crate::{Platform, Policy, VmOptions};
use hako_model::Isolation;

/// A request to run an image, or to say whether it would run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// `--isolation`; `None` is `default`.
    pub isolation: Option<Isolation>,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// The wall that the engine's configuration names for those who ask for none.
    pub engine_default: Option<Isolation>,
    /// What the container asks for of its virtual machine: it gets that, or an error.
    pub vm: VmOptions,
    /// What its image and the configuration say of such machines: taken where it
    /// serves, and of no concern to a container that has none.
    pub vm_default: VmOptions,
    /// Allows what is not supported: an image newer than its Windows host,
    /// behind the hyperv wall.
    pub allow_newer: bool,
    /// `--memory` in bytes; 0 is none.
    pub memory: u64,
    /// `--cpus` in billionths; 0 is none.
    pub nano_cpus: u64,
    /// What the administrator allows.
    pub policy: Policy,
    /// Who asks.
    pub caller: Caller,
}

/// Who asks: what is not known counts against them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The user at the other end of the socket: the number, and every name that is
    /// known for it. Empty is not known.
    pub users: Vec<String>,
    /// The socket or address that the request came by.
    pub socket: Option<String>,
}
