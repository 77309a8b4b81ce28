//! Endpoints about the engine itself.

pub mod events;
pub mod info;
pub mod networks;
pub mod ping;
pub mod version;
