//! The client's side of the Docker Engine API: one connection per request,
//! which is what a command needs and what hijacking wants.

mod autostart;
mod body;
mod client;
mod connect;
mod credentials;
mod host;
mod messages;
mod query;

pub(crate) use autostart::Engine;
pub(crate) use body::{Body, made, written};
pub(crate) use client::{Client, Hijacked, RequestBody};
pub(crate) use connect::TlsFlags;
pub(crate) use credentials::{Config, HUB, Login, registry_auth, registry_config};
pub(crate) use host::Host;
pub(crate) use messages::Messages;
pub(crate) use query::{Query, escape};
