//! `state.json`: what outlives this process.

use hako_model::{Error, Result, ShimPhase, ShimState, VmProcess};
use std::path::Path;

/// Makes `phase` known beyond this process, before anyone is told. It is for an
/// engine that comes back, not for one after a crash of the machine: the folder
/// is lost then, and who has heard of the end has written it down.
pub(crate) fn save(dir: &Path, vm: Option<VmProcess>, phase: ShimPhase) -> Result<()> {
    let path = dir.join("state.json");
    let (vm_pid, vm_origin) = vm.map(|vm| (vm.pid, vm.origin)).unzip();
    let vm_origin = vm_origin.unwrap_or_default();
    let state = ShimState { shim_pid: std::process::id().cast_signed(), vm_pid, vm_origin, phase };
    let named = |err: String| Error::internal(format!("write {}: {err}", path.display()));
    let text = serde_json::to_vec(&state).map_err(|err| named(err.to_string()))?;
    hako_os::atomic::replace(&path, &text, 0o600).map_err(|err| named(err.to_string()))
}
