//! The client's side of the Docker Engine API: one connection per request,
//! which is what a command needs and what hijacking wants.

mod autostart;
mod client;
mod connect;
mod host;
mod messages;
mod query;
mod registry_auth;

pub(crate) use autostart::Engine;
pub(crate) use client::{Client, Hijacked, RequestBody};
pub(crate) use connect::TlsFlags;
pub(crate) use host::Host;
pub(crate) use messages::Messages;
pub(crate) use query::{Query, escape};
pub(crate) use registry_auth::{registry_auth, registry_config};
