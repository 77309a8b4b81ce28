//! The same bodies behind the hyperv wall. Needs QEMU, mkfs.erofs, mkfs.ext4 and
//! the guest (`cargo xtask guest`) beside the shim.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by panicking")]

#[path = "bodies/bundle.rs"]
mod bundle;
#[path = "bodies/exec.rs"]
mod exec;
#[path = "bodies/harness.rs"]
mod harness;
#[path = "bodies/life.rs"]
mod life;
#[path = "bodies/streams.rs"]
mod streams;

/// The wall of these containers.
const WALL: hako_model::Isolation = hako_model::Isolation::Hyperv;
