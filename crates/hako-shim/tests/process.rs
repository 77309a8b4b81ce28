//! The shim behind the process wall, through its sockets. Needs root, busybox
//! and `hako-runtime` beside the shim (or `HAKO_RUNTIME`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by panicking")]

#[path = "bodies/bundle.rs"]
mod bundle;
#[path = "bodies/exec.rs"]
mod exec;
#[path = "bodies/footprint.rs"]
mod footprint;
#[path = "bodies/harness.rs"]
mod harness;
#[path = "bodies/host.rs"]
mod host;
#[path = "bodies/life.rs"]
mod life;
#[path = "bodies/streams.rs"]
mod streams;

/// The wall of these containers.
const WALL: hako_model::Isolation = hako_model::Isolation::Process;
