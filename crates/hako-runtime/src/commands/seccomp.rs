//! `seccomp`: compiles a profile ahead of its containers.

use crate::error::{Context, Result};
use crate::seccomp;
use std::path::Path;

/// Compiles OCI `linux.seccomp` from stdin to a file that the annotation
/// `hako.seccomp.bpf` can name: for this machine, or for the processors that
/// `arch` names as Go does.
pub fn run(out: &Path, arch: Option<&str>) -> Result<()> {
    let profile = serde_json::from_reader(std::io::stdin().lock()).context(|| "parse seccomp profile")?;
    let filter = seccomp::compile_for(&profile, arch)?;
    std::fs::write(out, filter.to_bytes()).context(|| format!("write {}", out.display()))
}
