//! `cargo xtask fuzz`: each target of `fuzz/` for a while.
//!
//! The corpus in `fuzz/corpus/` is read and, without `--keep`, left as it is:
//! what a run finds on its way goes into a folder that is removed.

use crate::{
    programs::{self, run as run_command},
    setup,
};
use anyhow::{Context, Result, bail};
use std::{fs, path::Path, process::Command};

/// Options of `fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Keep in the corpus what reaches code that it did not reach before
    #[arg(long)]
    keep: bool,
    /// The targets; all of them by default
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// Inputs longer than this find nothing that shorter ones do not.
const MOST_BYTES: u32 = 16 << 10;
/// In MiB. The readers promise that memory does not grow with what they read.
const MOST_MEMORY: u32 = 1024;

/// Runs the targets, one after the other.
pub fn run(args: &Args) -> Result<()> {
    setup::packages(setup::Purpose::Fuzz)?;
    if programs::find("cargo-fuzz").is_none() {
        run_command(programs::cargo()?.args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let folder = programs::workspace()?.join("fuzz");
    let known = targets(&folder)?;
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        bail!("no fuzz target {unknown}: there are {}", known.join(", "));
    }
    let chosen = if args.targets.is_empty() { &known } else { &args.targets };
    for target in chosen {
        eprintln!("xtask: fuzzing {target} for {} s", args.seconds);
        one(&folder, target, args)?;
    }
    Ok(())
}

/// The names of the targets.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets"))? {
        let path = entry?.path();
        names.push(path.file_stem().and_then(|n| n.to_str()).context("a target without a name")?.to_owned());
    }
    names.sort();
    Ok(names)
}

fn one(folder: &Path, target: &str, args: &Args) -> Result<()> {
    let corpus = folder.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let fresh = tempfile::tempdir()?;
    run_command(
        fuzzer(folder, target)?
            .arg(fresh.path())
            .arg(&corpus)
            .args(["--", &format!("-max_total_time={}", args.seconds), &format!("-max_len={MOST_BYTES}")])
            .args([&format!("-rss_limit_mb={MOST_MEMORY}"), "-timeout=30", "-print_final_stats=1", "-verbosity=1"]),
    )?;
    if args.keep {
        // Few and short ones: how often code is reached makes no difference here.
        let merge = ["--", "-merge=1", "-set_cover_merge=1", "-use_counters=0"];
        run_command(fuzzer(folder, target)?.arg(&corpus).arg(fresh.path()).args(merge))?;
    }
    Ok(())
}

/// No sanitizer: the programs' own code is safe Rust, and a finding is a panic,
/// a hang or memory that grows.
fn fuzzer(folder: &Path, target: &str) -> Result<Command> {
    let mut cargo = programs::cargo()?;
    // The instruments are compiler flags that stable Rust has, but does not let one set.
    cargo.env("RUSTC_BOOTSTRAP", "1").current_dir(folder);
    cargo.args(["fuzz", "run", "--release", "--sanitizer", "none", target]);
    Ok(cargo)
}
