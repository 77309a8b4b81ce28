//! The kernels that virtual machines boot here.

use crate::Engine;
use hako_platform::{GuestKernel, Platform};

/// Those that there are, the usual one first.
pub fn guests(engine: &Engine) -> Vec<GuestKernel> {
    let all = engine.guests.bootable();
    all.iter()
        .map(|guest| GuestKernel {
            kernel: guest.release.parse().ok(),
            ..GuestKernel::new(&guest.name, &Platform::new("linux", guest.board.architecture(), ""))
        })
        .collect()
}
