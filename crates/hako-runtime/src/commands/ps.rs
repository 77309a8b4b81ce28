//! `ps`: the container's processes as a JSON array of pids.

use super::print;
use crate::error::Result;
use crate::record::Existing;

/// Prints the pids.
pub fn run(existing: &Existing) -> Result<()> {
    print(&serde_json::json!(existing.cgroup()?.pids()).to_string())
}
