//! The outer machine's kernel: Debian's own, with the modules that its
//! initramfs must load before the root filesystem is there.

use crate::deb::{
    Archive,
    kernel::{self, Kernel},
};
use anyhow::Result;

/// What the outer machine needs: the way to its root filesystem and disks (9p,
/// virtio, ext4), what an engine's host has (overlay, tun), and KVM on the
/// emulated SVM. `crc32c_generic` is asked for by ext4 by name, not by symbol.
const WANTED: [&str; 13] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
    "overlay",
    "loop",
    "tun",
    "kvm",
    "kvm_amd",
];

/// Debian's standard kernel, from the cache or from the archive. (The cloud
/// kernel has no 9p.)
pub fn fetch() -> Result<Kernel> {
    kernel::fetch(Archive::OWN, "linux-image-amd64", &WANTED)
}
