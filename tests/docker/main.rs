//! The unmodified docker client against hakod, behind both walls.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bad_input;
mod clients;
mod concurrency;
mod crash;
mod debian;
mod exec;
mod exit;
mod flags;
mod health;
mod host_vm;
mod images;
mod leaks;
mod lifecycle;
mod listing;
mod load;
mod logs;
mod memory;
mod pull;
mod restart;
mod streams;
mod terminal;
mod walls;
