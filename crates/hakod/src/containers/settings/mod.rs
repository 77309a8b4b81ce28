//! What a request may ask for, in Docker's words, and what it gets where it
//! says nothing. What is not supported at all is in `hako_api::unsupported`.

mod capabilities;
mod config;
pub mod devices;
mod fill;
pub mod mounts;
pub mod namespaces;
mod numbers;
pub mod resources;
pub mod security;

pub use capabilities::capabilities;
pub use fill::fill;
pub use numbers::storage_size;

use super::policy;
use crate::{Engine, networks};
use hako_api::{
    types::{ContainerConfig, HostConfig},
    unsupported,
};
use hako_model::{Isolation, Result};

/// Says what is wrong or not supported; answers warnings. Names of other
/// containers become their ids, and limits that this host cannot keep go.
///
/// # Errors
/// `InvalidParameter` in Docker's words, or the table's answer.
pub fn validate(
    engine: &Engine,
    config: &ContainerConfig,
    host: &mut HostConfig,
    isolation: Isolation,
) -> Result<Vec<String>> {
    let sys = engine.host.sys.of(isolation);
    config::check(config)?;
    policy::validate(&host.restart_policy, host.auto_remove)?;
    namespaces::check(config, host)?;
    networks::check_asked(config, host)?;
    networks::check_ports(config, host)?;
    unsupported::check_create(config, host, isolation, sys.facts())?;
    numbers::check(host, isolation)?;
    devices::check(host)?;
    security::parse(host)?;
    capabilities(host, &engine.host, isolation)?;
    let mut warnings = resources::verify(host, &sys, engine.host.cpus, false)?;
    namespaces::resolve(engine, host, isolation)?;
    if host.cgroupns_mode == "private" && !sys.cgroup_namespaces {
        warnings
            .push("Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.".to_owned());
    }
    if host.cpu_count != 0 {
        // dockerd takes it without a word; CpuPercent is discarded above, in its words.
        warnings.push("CpuCount is a limit of Windows containers, and has no effect on this host".to_owned());
    }
    let publishes = host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    if host.network_mode == "host" && publishes {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    Ok(warnings)
}
