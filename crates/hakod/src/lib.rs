//! The engine: Docker's API on one side, shims on the other.
//!
//! ```text
//! http ── router ──► containers/<verb> ──► one task per container ──► shim
//!                    exec/<verb> ────────────────────────────────────► shim
//!                    image_api ──► images
//!                    volumes
//! ```

mod accelerator;
mod build;
mod check_store;
pub mod config;
mod containers;
mod daemon;
mod engine;
mod events;
mod exec;
pub mod flags;
mod guests;
mod host;
pub mod http;
mod idle;
mod image_api;
pub mod images;
mod networks;
mod placement;
mod programs;
mod shim;
mod spec;
mod sysinfo;
mod system;
mod templates;
mod volumes;

pub use check_store::check_store;
pub use daemon::run;
pub use engine::Engine;
