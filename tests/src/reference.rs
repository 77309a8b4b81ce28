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
