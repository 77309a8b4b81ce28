//! Guests of Debian's cloud kernels, which are packages: the kernel, the modules
//! that it needs before it has a root filesystem, and our programs.

use super::{initramfs, place, write};
use crate::deb::{Archive, kernel};
use anyhow::{Context, Result};
use serde_json::json;
use std::{fs, path::Path};

/// What is not built into these kernels and the agent needs.
const MODULES: [&str; 10] = [
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "virtio_rng",
    "erofs",
    "overlay",
    "fuse",
    // Interfaces beyond the first come over the agent's channel.
    "tun",
];

/// One of them.
pub struct Guest {
    /// Its name, and its folder's.
    pub name: &'static str,
    /// Where its package comes from.
    pub archive: Archive,
    /// The package that depends on the present kernel.
    pub meta: &'static str,
    /// Go's name of its processors.
    pub architecture: &'static str,
    /// As hako-qemu calls what it boots on.
    pub board: &'static str,
}

/// Debian 12's kernel for clouds, beside ours.
pub const DEBIAN: Guest = Guest {
    name: "debian",
    archive: Archive::OWN,
    meta: "linux-image-cloud-amd64",
    architecture: "amd64",
    board: "microvm-acpi",
};

/// The same for arm64.
pub const ARM64: Guest = Guest {
    name: "arm64",
    archive: Archive::ARM64,
    meta: "linux-image-cloud-arm64",
    architecture: "arm64",
    board: "virt",
};

/// Makes the guest's folder below `guests`, with the programs in `programs`. Its
/// description comes last: without one there is no guest.
pub fn make(guest: &Guest, guests: &Path, programs: &Path, own_init: bool) -> Result<()> {
    let kernel = kernel::fetch(guest.archive, guest.meta, &MODULES)?;
    let folder = guests.join(guest.name);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    place(&kernel.image, &folder.join("vmlinuz"))?;
    initramfs::write(programs, &kernel.modules, &folder.join("initramfs.cpio"))?;
    if own_init {
        place(&programs.join("hako-init"), &folder.join("hako-init"))?;
    }
    let description = json!({
        "os": "linux",
        "architecture": guest.architecture,
        "kernel": kernel.release,
        "board": guest.board,
        "image": "vmlinuz",
        "hz": kernel.hz,
    });
    write(&folder.join("guest.json"), &description)?;
    println!("guest: {} ({})", folder.display(), kernel.release);
    Ok(())
}
