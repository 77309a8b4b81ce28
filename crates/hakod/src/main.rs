//! `hakod`: see the library.

use clap::Parser;
use hakod::{config::Config, flags::Flags};
use std::process::ExitCode;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let work = if flags.check_store { hakod::check_store } else { hakod::run };
    match Config::resolve(flags).and_then(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("hakod: {err:#}");
            ExitCode::FAILURE
        }
    }
}
