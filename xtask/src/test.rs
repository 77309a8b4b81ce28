//! `cargo xtask test`: everything that the tests need, then all tests.

use crate::{programs, setup};
use anyhow::Result;
use std::time::Instant;

/// Options of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Passed on to the test runner: `cargo nextest run` if installed, else `cargo test`
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Builds everything and runs the tests. The runner's own summary comes last.
pub fn run(args: &Args) -> Result<()> {
    let begin = Instant::now();
    setup::packages(setup::Purpose::Test)?;
    programs::build()?;
    eprintln!("xtask: set up and built in {} s", begin.elapsed().as_secs());
    let mut cargo = programs::cargo()?;
    if programs::find("cargo-nextest").is_some() {
        cargo.args(["nextest", "run"]);
    } else {
        cargo.arg("test");
    }
    cargo.args(["--release", "--locked", "--workspace"]).args(&args.runner);
    cargo.env("HAKO_BIN_DIR", programs::bin_dir()?);
    let status = cargo.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
