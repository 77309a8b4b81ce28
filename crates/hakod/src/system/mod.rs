//! Endpoints about the engine itself.

pub mod auth;
pub mod df;
pub mod events;
pub mod info;
pub mod ping;
pub mod version;
