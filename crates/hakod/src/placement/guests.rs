//! The kernels that virtual machines boot here.

use crate::Engine;
use hako_platform::{GuestKernel, Platform};

/// Those that there are, the usual one first. One for other processors counts
/// where the emulator for it is installed.
pub fn guests(engine: &Engine) -> Vec<GuestKernel> {
    let all = engine.guests.all().into_iter();
    let bootable = all.filter(|guest| guest.is_native() || hako_qemu::is_installed(&guest.qemu));
    bootable
        .map(|guest| GuestKernel {
            kernel: guest.release.parse().ok(),
            ..GuestKernel::new(&guest.name, &Platform::new("linux", guest.board.architecture(), ""))
        })
        .collect()
}
