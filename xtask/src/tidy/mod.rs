//! `cargo xtask tidy`: the workspace's own rules, each with its reason.
//!
//! A rule looks at the tree and returns complaints; nothing is repaired here.

use crate::programs;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

mod layers;
mod source;

/// One broken rule: where, and what is wrong.
pub struct Complaint {
    /// The file, from the workspace's folder.
    pub path: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong, and why it matters.
    pub text: String,
}

/// A file that git would commit.
pub struct Source {
    /// From the workspace's folder.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Checks the whole tree.
pub fn run() -> Result<()> {
    let root = programs::workspace()?;
    let sources = sources(&root)?;
    let mut complaints = layers::check(&root)?;
    complaints.extend(sources.iter().flat_map(source::check));
    for complaint in &complaints {
        eprintln!("{}:{}: {}", complaint.path.display(), complaint.line, complaint.text);
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    eprintln!("tidy: {} files, nothing to complain about", sources.len());
    Ok(())
}

/// The text files of the tree, without what a build makes.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let skip = |name: &str| matches!(name, ".git" | "target") || name.starts_with("target-");
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root).into_iter().filter_entry(|e| !e.file_name().to_str().is_some_and(skip)) {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes = fs::read(entry.path()).with_context(|| format!("{}", entry.path().display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            found.push(Source { path: entry.path().strip_prefix(root)?.to_path_buf(), text });
        }
    }
    Ok(found)
}
