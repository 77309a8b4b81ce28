//! `state.json`: what outlives this process.

use hako_model::{Error, Result, ShimPhase, ShimState};
use std::path::Path;

/// Makes `phase` known beyond this process, before anyone is told. How the
/// container ended reaches the disk at once; what it was before has no meaning
/// after a crash of the machine, and its folder is lost then.
pub(crate) fn save(dir: &Path, vm_pid: Option<i32>, phase: ShimPhase) -> Result<()> {
    let path = dir.join("state.json");
    let state = ShimState { shim_pid: std::process::id().cast_signed(), vm_pid, phase };
    let named = |err: String| Error::internal(format!("write {}: {err}", path.display()));
    let text = serde_json::to_vec(&state).map_err(|err| named(err.to_string()))?;
    let write = match &state.phase {
        ShimPhase::Exited(_) => hako_os::write_atomic,
        ShimPhase::Empty | ShimPhase::Created { .. } | ShimPhase::Running { .. } => hako_os::atomic::replace,
    };
    write(&path, &text, 0o600).map_err(|err| named(err.to_string()))
}
