//! `state.json`: what outlives this process.

use hako_model::{Error, Result, ShimPhase, ShimState};
use std::path::Path;

/// Makes `phase` known beyond this process, before anyone is told. It is for an
/// engine that comes back, not for one after a crash of the machine: the folder
/// is lost then, and who has heard of the end has written it down.
pub(crate) fn save(dir: &Path, vm_pid: Option<i32>, phase: ShimPhase) -> Result<()> {
    let path = dir.join("state.json");
    let state = ShimState { shim_pid: std::process::id().cast_signed(), vm_pid, phase };
    let named = |err: String| Error::internal(format!("write {}: {err}", path.display()));
    let text = serde_json::to_vec(&state).map_err(|err| named(err.to_string()))?;
    hako_os::atomic::replace(&path, &text, 0o600).map_err(|err| named(err.to_string()))
}
