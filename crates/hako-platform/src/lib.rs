//! Placement: which image may run on which host, behind which wall, and if not,
//! why not and what would work. Pure: image, host and request are arguments, the
//! figures of Windows are data (`policy/platforms.toml`), and nothing is asked of
//! the machine that this runs on.
//!
//! ```text
//! Image ─┐                 ┌─ Placement: wall, manifest, size, notes
//! Host  ─┼─► place ────────┤
//! Request┘   (rules, tables)└─ Refusal: reason, remedies that were tried
//! ```
//!
//! Every answer carries the rules that were applied, for `--explain`.

pub mod binfmt;
pub mod comparison;
mod host;
mod image;
pub mod matrix;
mod place;
mod platform;
mod policy;
mod reason;
mod refusal;
mod remedy;
mod request;
mod rules;
pub mod sizing;
mod tables;
mod trace;
mod version;
pub mod vm;

pub use host::{GuestKernel, Host, HostError, HostOs, Install, LinuxHost, Product, WallState, WindowsHost};
pub use image::{Family, Form, Image, ImageError, ImageVersion, LABEL_KERNEL, LABEL_WALL, Manifest, Wish};
pub use place::{Placement, place};
pub use platform::{Platform, PlatformError};
pub use policy::{Policy, PolicyError, PolicyRule, glob};
pub use reason::Reason;
pub use refusal::Refusal;
pub use remedy::{Remedy, Situation, Step};
pub use request::{Caller, Request};
pub use tables::{Comparison, Need, Row, Tables, tables};
pub use trace::{Applied, Note, Outcome};
pub use version::{KernelVersion, OsVersion, VersionError};
pub use vm::{Accelerator, ImageBounds, LABEL_PREFIX, Limits, OPTIONS, VmOptionError, VmOptions};
