//! `hako-shim --dir DIR`: serves one container until it is told to end.
//! `hako-shim wait --dir DIR`: keeps a virtual machine for a container to come.
//! `hako-shim fs`: serves its host folders to its guest.

mod fs;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let served = match words.next() {
        Some(verb) if verb == "fs" => fs::run(words),
        Some(verb) if verb == "wait" => arguments(words).and_then(|dir| Ok(hako_shim::wait::run(&dir)?)),
        _ => arguments(std::env::args_os().skip(1)).and_then(|dir| Ok(hako_shim::run(&dir)?)),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("hako-shim: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(words: impl Iterator<Item = OsString>) -> anyhow::Result<PathBuf> {
    use lexopt::prelude::{Long, Value};
    let mut dir = None;
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => dir = Some(PathBuf::from(parser.value()?)),
            Long("version") => {
                println!("hako-shim version {}", env!("CARGO_PKG_VERSION"));
                std::process::exit(0);
            }
            Value(_) | Long(_) | lexopt::Arg::Short(_) => return Err(arg.unexpected().into()),
        }
    }
    dir.ok_or_else(|| anyhow::anyhow!("--dir is required"))
}
