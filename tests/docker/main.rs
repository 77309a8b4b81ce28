//! The unmodified docker client against hakod, behind both walls.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bad_input;
mod clients;
mod commit;
mod concurrency;
mod cp;
mod crash;
mod debian;
mod devices;
mod diff;
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
mod logs;
mod memory;
mod namespaces;
mod pause;
mod pull;
mod restart;
mod security;
mod streams;
mod terminal;
mod unsupported;
mod update;
mod walls;
