//! A process's streams between the sandbox, the log and attached clients.
//!
//! ```text
//!   sandbox stdout ──► pump ──► log, then every client (with back-pressure)
//!   sandbox stderr ──► pump ──►  "
//!   clients' stdin ──► Streams::write_stdin ──► sandbox stdin
//! ```

pub(crate) mod attach;
mod client;
pub(crate) mod log;
mod pump;
mod streams;

pub(crate) use pump::start;
pub(crate) use streams::{StdinEnd, Streams};
