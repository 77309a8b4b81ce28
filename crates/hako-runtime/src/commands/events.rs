//! `events`: one look at what the container has used.

use super::print;
use crate::error::Result;
use crate::record::Existing;
use crate::stats;
use serde_json::json;

/// Prints statistics, one object on one line, as `runc events --stats` does.
pub fn run(existing: &Existing) -> Result<()> {
    let data = stats::read(&existing.cgroup()?);
    print(&json!({"type": "stats", "id": existing.folder.id, "data": data}).to_string())
}
