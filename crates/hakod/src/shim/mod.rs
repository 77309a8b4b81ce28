//! Shims: how one is started, and the connection to it.

mod client;
mod dir;
mod process;
mod spawn;

pub use client::Live;
pub use dir::ShimDir;
pub use process::ShimProcess;
pub use spawn::{spawn, spawn_waiting};
