//! Environment variables and labels from flags and files.

use crate::error::{Error, Result, reason};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// `--env-file` then `--env`; a name alone takes the value that it has here, and is
/// left out if it has none.
pub(crate) fn variables(files: &[PathBuf], given: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        all.extend(lines(path)?.iter().filter_map(|line| from_here(line)));
    }
    for item in given {
        if item.is_empty() || item.starts_with('=') {
            return Err(Error::msg(format!(
                "invalid argument {item:?} for \"-e, --env\" flag: invalid environment variable: {item}"
            )));
        }
        all.extend(from_here(item));
    }
    Ok(all)
}

/// `--label-file` then `--label`.
pub(crate) fn labels(files: &[PathBuf], given: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        all.extend(lines(path)?);
    }
    all.extend(given.iter().cloned());
    Ok(all)
}

/// `--build-arg`: a name alone takes the value that it has here, and is null if it
/// has none.
pub(crate) fn build_args(given: &[String]) -> Map<String, Value> {
    let pair = |item: &String| match from_here(item).as_deref().and_then(|pair| pair.split_once('=')) {
        Some((name, value)) => (name.to_owned(), value.into()),
        None => (item.clone(), Value::Null),
    };
    given.iter().map(pair).collect()
}

fn from_here(item: &str) -> Option<String> {
    if item.contains('=') {
        return Some(item.to_owned());
    }
    std::env::var(item).ok().map(|value| format!("{item}={value}"))
}

/// The file's lines without blank ones and comments.
fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|err| Error::msg(format!("open {}: {}", path.display(), reason(&err))))?;
    let mut all = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(Error::msg(format!("poorly formatted environment: no variable name on line '{line}'")));
        }
        if name.contains(char::is_whitespace) {
            return Err(Error::msg(format!("poorly formatted environment: variable '{name}' contains whitespaces")));
        }
        all.push(line.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_first() {
        let path = std::env::temp_dir().join(format!("hako-cli-env-{}", std::process::id()));
        let written = std::fs::write(&path, "# comment\n\nA=1\n  B=x y\nHAKO_NO_SUCH_VARIABLE\n");
        assert!(written.is_ok());
        let all = variables(std::slice::from_ref(&path), &["A=2".into()]).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        assert_eq!(all, ["A=1", "B=x y", "A=2"]);
        assert!(variables(&[], &["=x".into()]).is_err());
    }

    #[test]
    fn build_arguments() {
        let all = build_args(&["A=1=2".into(), "HAKO_NO_SUCH_VARIABLE".into(), "PATH".into(), "B=".into()]);
        let path = std::env::var("PATH").unwrap_or_default();
        assert_eq!(
            Value::Object(all),
            serde_json::json!({"A": "1=2", "HAKO_NO_SUCH_VARIABLE": null, "PATH": path, "B": ""})
        );
    }
}
