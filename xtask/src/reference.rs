//! `cargo xtask test --host docker`: the bodies of the process wall against the
//! reference, Debian's dockerd. What a test says of Docker is so proved on
//! Docker first.
//!
//! ```text
//! packages docker.io, containerd, runc ── unpacked into the cache, never installed
//!   └─ dockerd: folders, socket and cgroup parent of its own, no bridge, no iptables
//!        └─ HAKO_TEST_DOCKER_HOST=unix://… the black-box tests, one after another
//! ```
//!
//! The tests share the one engine and its names, so they run one at a time. A
//! test that does not hold on the reference says why
//! (`hako_tests::not_on_reference`), and the reasons are printed at the end.

mod daemon;

use crate::{deb, programs};
use anyhow::{Context, Result};
use daemon::Daemon;
use std::{collections::BTreeSet, fs, path::Path};

/// Where the harness writes why a test is not for the reference; see
/// `tests/src/reference.rs`.
const REASONS: &str = "HAKO_REFERENCE_DIR";

/// What dockerd consists of, as packages of Debian.
const PACKAGES: [&str; 4] = ["docker.io", "containerd", "runc", "tini"];

/// Runs the tests; `filters` go to the test runner.
///
/// # Errors
/// A package that cannot be had, a daemon that does not start, tests that fail.
pub fn run(filters: &[String]) -> Result<()> {
    let trees = PACKAGES.iter().map(|name| deb::unpacked(name)).collect::<Result<Vec<_>>>()?;
    // Sockets have short names: not below a long TMPDIR.
    let root = tempfile::Builder::new().prefix("hako-docker-").tempdir_in("/tmp").context("making a folder")?;
    let reasons = root.path().join("reasons");
    fs::create_dir(&reasons).with_context(|| format!("making {}", reasons.display()))?;
    let daemon = Daemon::start(root.path(), &trees)?;
    println!("the reference is dockerd {}", daemon.version());
    let status = tests(&daemon, &reasons, filters);
    let left = daemon.end();
    report(&reasons)?;
    left?;
    anyhow::ensure!(status?, "the tests on the reference failed");
    Ok(())
}

/// Whether the tests passed.
fn tests(daemon: &Daemon, reasons: &Path, filters: &[String]) -> Result<bool> {
    let mut cargo = programs::cargo()?;
    let nextest = programs::find("cargo-nextest").is_some();
    cargo.args(if nextest { &["nextest", "run"][..] } else { &["test"] });
    cargo.args(["--release", "--locked", "--workspace", "--test", "docker", "--test", "api"]);
    if nextest {
        cargo.args(["--test-threads", "1", "--no-fail-fast"]).args(filters);
    } else {
        cargo.args(["--no-fail-fast", "--"]).args(filters).args(["--test-threads", "1"]);
    }
    cargo.env("HAKO_TEST_DOCKER_HOST", daemon.host()).env(REASONS, reasons);
    cargo.env("HAKO_BIN_DIR", programs::bin_dir()?);
    Ok(cargo.status().context("running the tests")?.success())
}

/// Prints what was not run on the reference, and why.
fn report(dir: &Path) -> Result<()> {
    let mut lines = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        lines.extend(fs::read_to_string(&path)?.lines().map(str::to_owned));
    }
    println!("\nnot on the reference: {} tests or parts of them", lines.len());
    for line in lines {
        println!("  {line}");
    }
    Ok(())
}
