//! The table of `cargo xtask test`: each verb of the docker client that touches
//! a container, behind each wall, by the tests that have used it. A verb that
//! no test used behind a wall fails the run unless its row says why.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Where the harness writes; see `tests/src/verbs.rs`.
pub const DIR: &str = "HAKO_VERBS_DIR";

const WALLS: [&str; 2] = ["process", "hyperv"];

/// Every verb that is expected, in the order of the client's help, and why it
/// is not there, if it is not.
const VERBS: &[(&str, Option<&str>)] = &[
    ("attach", None),
    ("build", None),
    ("commit", None),
    ("container prune", None),
    ("cp", None),
    ("create", None),
    ("diff", None),
    ("events", None),
    ("exec", None),
    ("export", None),
    ("inspect", None),
    ("kill", None),
    ("logs", None),
    ("pause", None),
    ("network connect", None),
    ("network create", None),
    ("network disconnect", None),
    ("network inspect", None),
    ("network ls", None),
    ("network prune", None),
    ("network rm", None),
    ("port", None),
    ("ps", None),
    ("rename", None),
    ("restart", None),
    ("rm", None),
    ("run", None),
    ("start", None),
    ("stats", None),
    ("stop", None),
    ("system df", None),
    ("top", None),
    ("unpause", None),
    ("update", None),
    ("wait", None),
];

/// What one test has written.
#[derive(Deserialize)]
struct Used {
    test: String,
    wall: String,
    passed: bool,
    verbs: BTreeSet<String>,
}

/// How often a verb was used by tests that passed and failed.
#[derive(Default, Clone)]
struct Count {
    passed: usize,
    failed: Vec<String>,
}

type Table = BTreeMap<(String, String), Count>;

/// Prints the table of what is in `dir`; false if a verb lacks a test.
///
/// # Errors
/// A file that cannot be read.
pub fn report(dir: &Path) -> Result<bool> {
    let table = read(dir)?;
    let mut whole = true;
    println!("\nverb × wall: tests that used it and passed");
    println!("{:<16} {:>10} {:>10}", "verb", WALLS[0], WALLS[1]);
    for (verb, reason) in VERBS {
        let mut cells = Vec::new();
        for wall in WALLS {
            let count = table.get(&((*verb).to_owned(), wall.to_owned())).cloned().unwrap_or_default();
            cells.push(match (count.passed, count.failed.len()) {
                (0, 0) => "none".to_owned(),
                (passed, 0) => format!("pass {passed}"),
                (passed, failed) => format!("FAIL {failed}/{}", passed + failed),
            });
        }
        let unused = cells.iter().any(|cell| cell == "none");
        whole &= !unused || reason.is_some();
        println!(
            "{verb:<16} {:>10} {:>10}{}",
            cells[0],
            cells[1],
            reason.map(|r| format!("  {r}")).unwrap_or_default()
        );
    }
    for ((verb, wall), count) in &table {
        for test in &count.failed {
            println!("failed: {verb} behind the {wall} wall in {test}");
        }
    }
    Ok(whole)
}

fn read(dir: &Path) -> Result<Table> {
    let mut table = Table::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let used: Used = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        for verb in used.verbs {
            let count = table.entry((verb, used.wall.clone())).or_default();
            if used.passed {
                count.passed += 1;
            } else {
                count.failed.push(used.test.clone());
            }
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_without_a_test_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!report(dir.path()).unwrap());
        let verbs: Vec<&str> = VERBS.iter().map(|row| row.0).collect();
        for wall in WALLS {
            let used = serde_json::json!({"test": "t", "wall": wall, "passed": true, "verbs": verbs});
            fs::write(dir.path().join(wall), used.to_string()).unwrap();
        }
        assert!(report(dir.path()).unwrap());
        assert_eq!(read(dir.path()).unwrap()[&("cp".to_owned(), "hyperv".to_owned())].passed, 1);
    }
}
