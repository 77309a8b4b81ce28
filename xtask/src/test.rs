//! `cargo xtask test`: everything that the tests need, then all tests.

use crate::{guest, host_vm, programs, reference, setup, verbs};
use anyhow::Result;
use std::time::Instant;

/// Options of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Where: on this machine; a chosen subset in an emulated machine with KVM, cgroup2 and AppArmor; the process wall's on Debian's dockerd
    #[arg(long, value_enum, default_value = "local")]
    host: Host,
    /// Take the packages, programs and the guest as they lie
    #[arg(long)]
    no_build: bool,
    /// Passed on to the test runner: `cargo nextest run` if installed, else `cargo test`
    #[arg(last = true)]
    runner: Vec<String>,
}

/// The machine that the tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Host {
    /// This one
    Local,
    /// An outer VM; the runner's arguments are then names of tests
    Vm,
    /// This one, against the reference engine
    Docker,
}

/// Builds everything, runs the tests, and prints which verbs they have used
/// behind which wall.
pub fn run(args: &Args) -> Result<()> {
    let begin = Instant::now();
    if !args.no_build {
        setup::packages(setup::Purpose::Test)?;
        programs::build()?;
        let guests = if programs::find("apt-get").is_some() {
            vec![guest::Name::Default, guest::Name::Debian, guest::Name::Arm64]
        } else {
            eprintln!("xtask: the guests debian and arm64 are made of Debian's packages, and there is no apt-get");
            vec![guest::Name::Default]
        };
        guest::run(guest::Args { guests, no_build: true, ..guest::Args::default() })?;
    }
    eprintln!("xtask: set up and built in {} s", begin.elapsed().as_secs());
    match args.host {
        Host::Local => {}
        Host::Vm => return host_vm::run(&args.runner),
        Host::Docker => return reference::run(&args.runner),
    }
    let mut cargo = programs::cargo()?;
    if programs::find("cargo-nextest").is_some() {
        cargo.args(["nextest", "run"]);
    } else {
        cargo.arg("test");
    }
    cargo.args(["--release", "--locked", "--workspace"]).args(&args.runner);
    cargo.env("HAKO_BIN_DIR", programs::bin_dir()?);
    let used = tempfile::tempdir()?;
    cargo.env(verbs::DIR, used.path());
    let status = cargo.status()?;
    let whole = verbs::report(used.path())?;
    // A part of the tests cannot use every verb.
    if status.success() && !whole && args.runner.is_empty() {
        anyhow::bail!("a verb was used by no test behind one of the walls");
    }
    // Else the folder would stay.
    drop(used);
    std::process::exit(status.code().unwrap_or(1))
}
