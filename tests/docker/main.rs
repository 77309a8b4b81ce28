//! The unmodified docker client against hakod, behind both walls.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

/// For bodies whose containers have folders of the host. Once these reach a
/// virtual machine this is `both_walls`.
pub(crate) use hako_tests::both_walls as walls_with_host_folders;

mod absent;
mod bad_input;
mod binds;
mod build_cache;
mod build_files;
mod build_instructions;
mod build_run;
mod build_stages;
mod build_walls;
mod clients;
mod commit;
mod compose;
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
mod image_prune;
mod images;
mod import;
mod interop;
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
mod networks;
mod networks_crash;
mod networks_ports;
mod pause;
mod platforms;
mod programs;
mod pull;
mod push;
mod python;
mod restart;
mod save;
mod security;
mod stats;
mod store_full;
mod store_kills;
mod streams;
mod terminal;
mod told;
mod top;
mod transfer;
mod unsupported;
mod update;
mod volume_kills;
mod volume_mounts;
mod volumes;
mod walls;
mod websocket;
