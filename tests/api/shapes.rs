//! The shape of every answer about containers: nulls against empty lists,
//! fields that are left out, codes and texts of errors, forms of times and ids.
//!
//! One script of requests at version 1.41 is answered by hakod, behind each
//! wall, and was answered by dockerd 20.10 (`reference/docker-20.10.json`). The
//! two must be the same but for the rows of [`differences::TABLE`], and each of
//! those must still be a difference.
//!
//! `HAKO_TEST_RECORD=1 cargo xtask test --host docker -- shapes` writes the
//! reference anew; without the variable it is compared with itself, which shows
//! that the script always gives the same.

mod canon;
mod differences;
mod script;

use hako_tests::{Case, Engine, Wall, both_walls};
use serde_json::{Map, Value};
use std::{env, fs, path::PathBuf};

fn recorded() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/api/reference/docker-20.10.json"))
}

both_walls! {
    fn as_dockers(case) {
        let answers = script::run(case);
        if Engine::is_reference() && env::var_os("HAKO_TEST_RECORD").is_some() {
            fs::write(recorded(), format!("{:#}\n", Value::Object(answers))).unwrap();
            return;
        }
        compare(case, &answers);
    }
}

/// Fails with every difference at once.
fn compare(case: &Case, answers: &Map<String, Value>) {
    let reference: Map<String, Value> = serde_json::from_slice(&fs::read(recorded()).unwrap()).unwrap();
    let mut found = Vec::new();
    for name in reference.keys().chain(answers.keys().filter(|name| !reference.contains_key(*name))) {
        if name == "stats" && script::unified() {
            continue;
        }
        let of = |from: &Map<String, Value>| from.get(name).cloned().unwrap_or_default();
        canon::differ(name, &of(&reference), &of(answers), &mut found);
    }
    let mut wrong = Vec::new();
    let mut used = vec![false; differences::TABLE.len()];
    for difference in found {
        let row = differences::TABLE.iter().position(|row| row.is(&difference, case.wall));
        match row.filter(|_| !Engine::is_reference()) {
            Some(row) => used[row] = true,
            None => wrong.push(difference.to_string()),
        }
    }
    if !Engine::is_reference() {
        let unused = differences::TABLE.iter().zip(used).filter(|(row, used)| !used && row.holds_behind(case.wall));
        wrong.extend(unused.map(|(row, _)| format!("no difference any more: {} ({})", row.path, row.why)));
    }
    assert!(wrong.is_empty(), "{} of {} answers' fields:\n{}", wrong.len(), case.wall, wrong.join("\n"));
}

#[test]
fn rows_are_for_a_wall_or_both() {
    let row = &differences::TABLE[0];
    assert!(row.holds_behind(Wall::Process) || row.holds_behind(Wall::Hyperv));
}
