//! A client of container registries: OCI distribution and Docker schema 2.
//!
//! ```text
//! Client ── session(repository, credentials) ──────► Session (mirrors first, then the registry)
//!        │                                             ├─ resolve(tag or digest, choice) ─► Resolved
//!        │                                             ├─ describe(tag or digest) ─► Described
//!        │                                             ├─ small_blob(config)
//!        │                                             └─ blob(layer) ─► bytes, resumed where they break off
//!        └── push_session(repository, credentials) ─► Session (the registry alone)
//!                                                      ├─ has_blob, mount, upload
//!                                                      └─ put_manifest(tag or digest)
//! ```
//!
//! Everything that a registry sends is limited while it is read: nothing here
//! holds more than [`MAX_MANIFEST`] or [`MAX_CONFIG`] bytes of it. Content is
//! verified: manifests and configs here, layers by who takes the bytes.

mod answer;
mod auth;
mod blob;
mod certs;
mod credentials;
mod describe;
mod endpoint;
mod error;
mod login;
mod manifest;
mod mirror;
mod session;
mod source;
mod trust;
mod upload;

pub use credentials::Credentials;
pub use describe::Described;
pub use endpoint::{Client, Config};
pub use error::{Error, Result};
pub use hako_platform::Platform;
pub use manifest::{Descriptor, IndexEntry, Manifest, Offered, is_layer, parse_index, parse_manifest, select};
pub use mirror::Mirror;
pub use session::{Resolved, Session};
pub use upload::{Content, Mounted, Place};

/// A manifest or index may have this many bytes.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// An image's config may have this many bytes.
pub const MAX_CONFIG: u64 = 8 << 20;
/// An image may have this many layers.
pub const MAX_LAYERS: usize = 127;
