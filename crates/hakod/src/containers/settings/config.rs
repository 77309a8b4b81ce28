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
    check_health(config)
}

/// The shortest time that a health check may name.
const LEAST_NANOS: i64 = 1_000_000;

fn check_health(config: &ContainerConfig) -> Result<()> {
    let Some(health) = &config.healthcheck else { return Ok(()) };
    let too_short = |(name, nanos): (&str, i64)| {
        (nanos != 0 && nanos < LEAST_NANOS)
            .then(|| Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")))
    };
    let first = [("Interval", health.interval), ("Timeout", health.timeout)];
    let last = [("StartPeriod", health.start_period), ("StartInterval", health.start_interval)];
    let negative = (health.retries < 0).then(|| Error::invalid("Retries in Healthcheck cannot be negative"));
    let wrong = first.into_iter().find_map(too_short).or(negative).or_else(|| last.into_iter().find_map(too_short));
    wrong.map_or(Ok(()), Err)
}
