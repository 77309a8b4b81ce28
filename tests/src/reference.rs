//! The reference engine, and what does not hold on it.

use crate::Engine;
use std::{env, fs::OpenOptions, io::Write, path::PathBuf, thread};

/// The folder for one file a process; set by `cargo xtask test --host docker`.
const DIR: &str = "HAKO_REFERENCE_DIR";

/// Whether the engine under test is the reference, for a test or a part of one
/// that does not hold there. `reason` is printed and is in the run's report: the
/// reference's age, or a choice of ours that is in the documentation.
#[must_use]
pub fn not_on_reference(reason: &str) -> bool {
    if !Engine::is_reference() {
        return false;
    }
    let thread = thread::current();
    let test = thread.name().unwrap_or("main");
    eprintln!("not on the reference: {reason}");
    if let Some(dir) = env::var_os(DIR).map(PathBuf::from) {
        let file = dir.join(std::process::id().to_string());
        let file = OpenOptions::new().create(true).append(true).open(file);
        // The report then lacks the line; the test's own output has it.
        let _ = file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes()));
    }
    true
}

/// Whether the docker client under test (`HAKO_TEST_DOCKER`) is older than
/// release `major`, for a test or a part of one that asks for more. `reason` is
/// printed.
#[must_use]
pub fn client_before(major: u32, reason: &str) -> bool {
    let version = crate::Client::new(&crate::tool(crate::Tool::Docker)).arg("--version").text();
    let number = version.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse::<u32>().ok());
    let older = number.is_some_and(|number| number < major);
    if older {
        eprintln!("not with this client ({version}): {reason}");
    }
    older
}
