//! The one place that asks which wall it is.

use hako_model::{Isolation, Result, SandboxConfig};
use hako_sandbox::{
    Sandbox,
    microvm::{MicroVm, Waiting},
    process::{ProcessConfig, ProcessSandbox, Reaper},
};
use std::{path::Path, sync::Arc};

/// The sandbox for `config`. Must be called on the tokio runtime.
/// A machine that has waited is for the hyperv wall.
pub(crate) fn build(config: &SandboxConfig, dir: &Path, waiting: Option<Waiting>) -> Result<Arc<dyn Sandbox>> {
    Ok(match config.isolation {
        Isolation::Process => {
            // The reaper waits for every child: only behind this wall may it exist.
            let reaper = Reaper::start()?;
            let process = ProcessConfig {
                runtime: config.runtime.clone(),
                runtime_root: config.runtime_root.clone(),
                dir: dir.to_owned(),
                rootfs_mounted: false,
                standby: None,
            };
            Arc::new(ProcessSandbox::new(process, reaper))
        }
        Isolation::Hyperv => {
            let (config, dir) = (config.clone(), dir.to_owned());
            Arc::new(match waiting {
                Some(waiting) => MicroVm::with_waiting(config, dir, waiting),
                None => MicroVm::new(config, dir),
            })
        }
    })
}
