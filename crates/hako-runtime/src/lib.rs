//! `hako-runtime`: an OCI runtime.
//!
//! One process per call, with one thread: it clones without fork handlers and
//! changes process-wide state. The same program runs on the host (process wall)
//! and in the guest (hyperv wall).

mod bundle;
mod cgroup;
mod cli;
mod commands;
mod container;
mod devices;
mod error;
mod executor;
mod join;
mod lookup;
mod nodes;
mod privileges;
mod process;
mod record;
mod report;
mod rootfs;
mod seal;
mod seccomp;
mod stats;
mod sys;
mod user;

use std::process::ExitCode;

/// Parses the command line, runs it, and prints what went wrong as the last
/// line of stderr.
pub fn main() -> ExitCode {
    let result = cli::parse(std::env::args_os()).and_then(|(globals, command)| commands::run(&globals, command));
    match result {
        Ok(code) => code,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}
