//! The engine: Docker's API on one side, shims on the other.
//!
//! ```text
//! http ── router ──► containers/<verb> ──► one task per container ──► shim
//!                    exec/<verb> ────────────────────────────────────► shim
//!                    image_api ──► images
//! ```

mod accelerator;
mod build;
pub mod config;
mod containers;
mod daemon;
mod engine;
mod events;
mod exec;
pub mod flags;
mod host;
pub mod http;
mod image_api;
pub mod images;
mod programs;
mod shim;
mod spec;
mod sysinfo;
mod system;

pub use daemon::run;
pub use engine::Engine;
