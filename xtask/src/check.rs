//! `cargo xtask check`: what must hold before a change is taken, apart from tests.

use crate::{programs, setup, tidy};
use anyhow::Result;

/// Runs every check, the fast ones first.
pub fn run() -> Result<()> {
    programs::run(programs::cargo()?.args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    if programs::find("cargo-deny").is_some() {
        // Advisories need a network and change without a commit: not here.
        programs::run(programs::cargo()?.args(["deny", "--locked", "check", "licenses", "bans", "sources"]))?;
    } else {
        eprintln!("xtask: cargo-deny is not installed: licences, bans and sources are not checked");
    }
    setup::packages(setup::Purpose::Build)?;
    programs::run(programs::cargo()?.args([
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}
