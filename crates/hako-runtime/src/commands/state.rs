//! `state`: OCI's state as JSON.

use super::print_json;
use crate::error::Result;
use crate::record::Existing;
use serde_json::{Value, json};

/// Prints the state.
pub fn run(existing: &Existing) -> Result<()> {
    print_json(&state(existing))
}

/// OCI's state.
pub fn state(existing: &Existing) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "id": existing.folder.id,
        "status": existing.status().as_str(),
        "pid": existing.live_pid().unwrap_or(0),
        "bundle": existing.record.bundle,
        "created": existing.record.created,
        "annotations": existing.record.annotations,
    })
}
