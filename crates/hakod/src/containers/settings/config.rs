//! The half of the request that does not depend on the host.

use hako_api::{signal, types::ContainerConfig};
use hako_model::{Error, Result};

/// Docker's words for what is wrong.
pub fn check(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(bad) = config.env.iter().flatten().find(|e| e.is_empty() || e.starts_with('=') || e.contains('\0')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    if config.hostname.len() > 64 || config.hostname.contains(['/', '\0', '\n']) {
        return Err(Error::invalid(format!("invalid hostname format: {}", config.hostname)));
    }
    Ok(())
}
