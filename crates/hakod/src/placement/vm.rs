//! What is asked for of a container's virtual machine.

use hako_api::types::{ContainerConfig, HostConfig};
use hako_model::Result;
use hako_platform::VmOptions;

/// The options of a virtual machine.
#[derive(Debug, Clone, Default)]
pub struct VmAsked {
    /// What the container itself asks for.
    pub own: VmOptions,
    /// What its image and the configuration say of such machines.
    pub usual: VmOptions,
}

/// What a create asks for.
///
/// # Errors
/// An option that means nothing.
pub fn vm_options(_config: &ContainerConfig, _host: &HostConfig) -> Result<VmAsked> {
    Ok(VmAsked::default())
}
