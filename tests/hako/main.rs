//! The `hako` client, and the engine that it starts on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod build;
mod client;
mod compat;
mod demand;
mod machine;
mod networks;
mod registry;
mod volumes;
