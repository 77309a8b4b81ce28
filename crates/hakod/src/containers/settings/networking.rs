//! `NetworkingConfig`: endpoints of networks that are there. Clients send one
//! for the default network, with nothing in it.

use hako_api::unsupported;
use hako_model::{Error, Result};
use serde_json::Value;

/// Docker's words for a network that does not exist, or the table's answer.
pub fn check(networking: &Value, mode: &str) -> Result<()> {
    let Some(endpoints) = networking.get("EndpointsConfig").and_then(Value::as_object) else { return Ok(()) };
    for (name, endpoint) in endpoints {
        let known = matches!(name.as_str(), "default" | "bridge" | "none" | "host") || name == mode;
        if !known {
            return Err(Error::not_found(format!("network {name} not found")));
        }
        unsupported::check_endpoint(endpoint)?;
    }
    Ok(())
}
