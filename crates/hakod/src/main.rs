//! `hakod`: see the library.

use clap::Parser;
use hakod::{config::Config, flags::Flags};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Config::resolve(Flags::parse()).and_then(hakod::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("hakod: {err:#}");
            ExitCode::FAILURE
        }
    }
}
