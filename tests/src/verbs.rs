//! Which verbs of the docker client a test has used behind which wall, for the
//! table that `cargo xtask test` prints. A test says nothing of it itself: what
//! it runs is what it has used.

use crate::Wall;
use serde_json::json;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// The folder for one file a test; set by `cargo xtask test`.
const DIR: &str = "HAKO_VERBS_DIR";

/// Commands with commands below them, and what the old, short form of a
/// container's command is called.
const GROUPS: &[&str] = &["builder", "container", "image", "network", "plugin", "system", "volume"];

/// The verbs of one test. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Verbs(Arc<Mutex<BTreeSet<String>>>);

impl Verbs {
    fn set(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the verb of a command line of docker's, without the flags before it.
    pub(crate) fn note<S: AsRef<OsStr>>(&self, args: &[S]) {
        let mut words = args.iter().filter_map(|arg| arg.as_ref().to_str());
        let Some(first) = words.next().filter(|word| !word.starts_with('-')) else { return };
        let verb = match (GROUPS.contains(&first), words.next()) {
            (true, Some(second)) => joined(first, second),
            (true, None) | (false, _) => first.to_owned(),
        };
        self.set().insert(verb);
    }
}

/// `container ls` is `ps`, and so on; what has no short form keeps both words.
fn joined(group: &str, verb: &str) -> String {
    match (group, verb) {
        ("container", "ls" | "list" | "ps") => "ps".to_owned(),
        ("image", "ls" | "list") => "images".to_owned(),
        ("image", "rm" | "remove") => "rmi".to_owned(),
        ("system", "events" | "info") | ("image", "history" | "load" | "pull" | "tag") => verb.to_owned(),
        // `docker prune` does not exist: every group has its own.
        ("container", verb) if verb != "prune" => verb.to_owned(),
        (group, verb) => format!("{group} {verb}"),
    }
}

/// Writes down at its end what the test has used and whether it passed.
pub(crate) struct Record {
    pub(crate) wall: Wall,
    pub(crate) verbs: Verbs,
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
        let thread = thread::current();
        let test = thread.name().unwrap_or("main");
        let text = json!({
            "test": test, "wall": self.wall.to_string(), "passed": !thread::panicking(),
            "verbs": *self.verbs.set(),
        });
        let name = format!("{}-{}-{}.json", test.replace(':', "_"), self.wall, std::process::id());
        // The table then lacks a row's test, and says so.
        let _ = fs::write(dir.join(name), text.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::Verbs;

    #[test]
    fn verbs_by_their_short_names() {
        let verbs = Verbs::default();
        verbs.note(&["ps", "-a"]);
        verbs.note(&["container", "ls"]);
        verbs.note(&["container", "prune", "-f"]);
        verbs.note(&["container", "top", "x"]);
        verbs.note(&["system", "df"]);
        verbs.note(&["image", "inspect", "x"]);
        verbs.note(&["--version"]);
        let noted: Vec<String> = verbs.set().iter().cloned().collect();
        assert_eq!(noted, ["container prune", "image inspect", "ps", "system df", "top"]);
    }
}
