//! Rules about single files.

use super::{Complaint, Source};
use std::path::Path;

/// Longer files hide their shape; most stay below half of this.
const MOST_LINES: usize = 800;

/// Names that say nothing about what a file holds, so that anything lands there.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helpers", "helper", "base", "misc"];

/// Text that no committed file has, with the reason. Written in two halves, so
/// that this file passes its own rule.
const NOWHERE: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "names a folder of one machine"),
    (".libr", "ary/", "names a folder of one machine"),
    ("/ro", "ot/.cargo", "names a folder of one machine"),
];

/// Text that no Rust file has, with the reason.
const NOT_IN_RUST: &[(&str, &str, &str)] = &[
    ("tod", "o!(", "what is not built answers Error::unsupported, it does not panic"),
    ("unimpl", "emented!(", "what is not built answers Error::unsupported, it does not panic"),
    ("#[ign", "ore]", "a test that is not run needs a reason: #[ignore = \"…\"]"),
    ("FIX", "ME", "mend it, or write an issue"),
    ("X", "XX", "mend it, or write an issue"),
];

/// Checks one file.
pub fn check(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, text: String| {
        complaints.push(Complaint { path: source.path.clone(), line, text });
    };
    for (number, line) in numbered(&source.text) {
        for (left, right, why) in NOWHERE {
            if line.contains(&format!("{left}{right}")) {
                complain(number, (*why).to_owned());
            }
        }
    }
    if source.path.extension().is_some_and(|e| e == "rs") {
        rust(source, &mut complain);
    }
    complaints
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn rust(source: &Source, complain: &mut impl FnMut(usize, String)) {
    let lines = source.text.lines().count();
    if lines > MOST_LINES {
        complain(0, format!("{lines} lines, more than {MOST_LINES}: split it"));
    }
    let stem = source.path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        complain(0, format!("{stem} says nothing about what the file holds"));
    }
    let os = source.path.starts_with("crates/hako-os");
    for (number, line) in numbered(&source.text) {
        for (left, right, why) in NOT_IN_RUST {
            if line.contains(&format!("{left}{right}")) {
                complain(number, (*why).to_owned());
            }
        }
        if line.contains("allow(unsafe_code)") && !source.text.contains("// UNSAFETY:") {
            complain(number, "a module that opts into unsafe says why in a line // UNSAFETY:".to_owned());
        }
        if !os && line.contains(concat!("cfg(", "target_os")) {
            complain(number, "only hako-os knows operating systems".to_owned());
        }
        if line.contains("anyhow") && !may_use_anyhow(&source.path) {
            complain(number, "anyhow only in programs and tests: callers of a library match on its errors".to_owned());
        }
    }
}

/// Programs (an actor's library is its own program's alone), build scripts, tests.
fn may_use_anyhow(path: &Path) -> bool {
    let of_actor = |name: &str| super::layers::is_actor(name);
    let name = path.strip_prefix("crates").ok().and_then(|rest| rest.iter().next()?.to_str());
    path.ends_with("src/main.rs") || path.ends_with("build.rs") || name.is_none_or(of_actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&Source { path: path.into(), text: text.to_owned() }).len()
    }

    #[test]
    fn each_rule_can_fail() {
        assert_eq!(complaints("crates/hakod/src/lib.rs", "fn main() {}\n"), 0);
        assert_eq!(complaints("README.md", concat!("see /wo", "rk/main\n")), 1);
        assert_eq!(complaints("crates/hakod/src/lib.rs", concat!("tod", "o!()\n")), 1);
        assert_eq!(complaints("crates/hakod/src/common.rs", "\n"), 1);
        assert_eq!(complaints("crates/hakod/src/x.rs", &"\n".repeat(MOST_LINES + 1)), 1);
        assert_eq!(complaints("crates/hakod/src/x.rs", "#![allow(unsafe_code)]\n"), 1);
        assert_eq!(complaints("crates/hakod/src/x.rs", "#![allow(unsafe_code)]\n// UNSAFETY: raw fds\n"), 0);
        assert_eq!(complaints("crates/hakod/src/x.rs", concat!("#[cfg(", "target_os = \"linux\")]\n")), 1);
        assert_eq!(complaints("crates/hako-os/src/x.rs", concat!("#[cfg(", "target_os = \"linux\")]\n")), 0);
        assert_eq!(complaints("crates/hako-os/src/x.rs", "use anyhow::Result;\n"), 1);
        assert_eq!(complaints("crates/hakod/src/x.rs", "use anyhow::Result;\n"), 0);
    }
}
