//! The shim behind the process wall, through its sockets. Needs root, busybox
//! and `hako-runtime` beside the shim (or `HAKO_RUNTIME`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by panicking")]

mod bundle;
mod exec;
mod footprint;
mod harness;
mod life;
mod streams;
