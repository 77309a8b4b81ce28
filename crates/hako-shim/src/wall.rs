//! The one place that asks which wall it is.

use hako_model::{Isolation, Result, SandboxConfig};
use hako_sandbox::{
    Sandbox,
    microvm::MicroVm,
    process::{ProcessConfig, ProcessSandbox, Reaper},
};
use std::{path::Path, sync::Arc};

/// The sandbox for `config`. Must be called on the tokio runtime.
pub(crate) fn build(config: &SandboxConfig, dir: &Path) -> Result<Arc<dyn Sandbox>> {
    Ok(match config.isolation {
        Isolation::Process => {
            // The reaper waits for every child: only behind this wall may it exist.
            let reaper = Reaper::start()?;
            let process = ProcessConfig {
                runtime: config.runtime.clone(),
                runtime_root: config.runtime_root.clone(),
                dir: dir.to_owned(),
                rootfs_mounted: false,
            };
            Arc::new(ProcessSandbox::new(process, reaper))
        }
        Isolation::Hyperv => Arc::new(MicroVm::new(config.clone(), dir.to_owned())),
    })
}
