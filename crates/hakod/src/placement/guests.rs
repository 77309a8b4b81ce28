//! The kernels that virtual machines boot here.

use crate::Engine;
use hako_model::policy;
use hako_platform::{GuestKernel, Platform};

/// Those that there are, the usual one first.
pub fn guests(engine: &Engine) -> Vec<GuestKernel> {
    let there = [&engine.programs.kernel, &engine.programs.initramfs].iter().all(|path| path.is_file());
    let own = Platform::new("linux", policy::native_arch(), "");
    there.then(|| GuestKernel::new("default", &own)).into_iter().collect()
}
