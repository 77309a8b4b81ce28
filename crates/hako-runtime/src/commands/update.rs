//! `update`: new limits for a living container.

use crate::error::{Context, Result};
use crate::record::Existing;
use std::io::Read;
use std::path::Path;

/// Applies OCI `linux.resources` from a file, or from stdin (`-`).
pub fn run(existing: &Existing, file: &Path) -> Result<()> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context(|| "read stdin")?;
    } else {
        text = std::fs::read_to_string(file).context(|| format!("read {}", file.display()))?;
    }
    let resources = serde_json::from_str(&text).context(|| "parse resources")?;
    existing.cgroup()?.update(&resources)
}
