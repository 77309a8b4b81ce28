//! The unmodified docker client against hakod, behind both walls.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod absent;
mod bad_input;
mod clients;
mod commit;
mod concurrency;
mod cp;
mod crash;
mod debian;
mod devices;
mod df;
mod diff;
mod events;
mod exec;
mod exit;
mod export;
mod flags;
mod health;
mod host_vm;
mod images;
mod leaks;
mod lifecycle;
mod limits;
mod listing;
mod load;
mod log_drivers;
mod login;
mod logs;
mod memory;
mod namespaces;
mod pause;
mod pull;
mod python;
mod restart;
mod security;
mod stats;
mod streams;
mod terminal;
mod told;
mod top;
mod unsupported;
mod update;
mod walls;
mod websocket;
