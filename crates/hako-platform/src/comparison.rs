//! The two walls side by side, on Linux and on Windows.

use crate::tables;
use std::fmt::Write;

/// The hosts that there is a table for, with their headlines.
const HOSTS: [(&str, &str); 2] = [("linux", "Linux"), ("windows", "Windows")];

/// For a terminal.
#[must_use]
pub fn text() -> String {
    let mut out = String::new();
    for (os, title) in HOSTS {
        let _ = writeln!(out, "{title}");
        for row in tables().comparison.iter().filter(|row| row.os == os) {
            let _ = writeln!(out, "  {}\n    process  {}\n    hyperv   {}", row.aspect, row.process, row.hyperv);
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// For documents: the table of one kind of host.
#[must_use]
pub fn markdown(os: &str) -> String {
    let mut out = "| | `process` | `hyperv` |\n|---|---|---|\n".to_owned();
    for row in tables().comparison.iter().filter(|row| row.os == os) {
        let _ = writeln!(out, "| {} | {} | {} |", row.aspect, row.process, row.hyperv);
    }
    out
}

/// [`markdown`] of every kind of host, under headlines.
#[must_use]
pub fn document() -> String {
    let parts: Vec<String> = HOSTS.iter().map(|(os, title)| format!("### On {title}\n\n{}", markdown(os))).collect();
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix;

    const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/choosing-a-wall.md");

    #[test]
    fn both_tables_have_the_same_aspects() {
        let aspects = |os: &str| {
            tables().comparison.iter().filter(|row| row.os == os).map(|row| row.aspect.clone()).collect::<Vec<_>>()
        };
        assert_eq!(aspects("linux"), aspects("windows"));
        assert!(!aspects("linux").is_empty());
        assert!(text().ends_with("default there)\n") && text().contains("    hyperv   "));
    }

    /// The guide's tables are the product's: each stands between two marks.
    #[test]
    fn the_guide_is_current() {
        let guide = std::fs::read_to_string(GUIDE).unwrap();
        let mut new = guide.clone();
        for (mark, table) in [("comparison", document()), ("matrix", matrix::matrix().markdown())] {
            let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
            let (before, rest) = new.split_once(&begin).unwrap();
            let after = rest.split_once(&end).unwrap().1;
            new = format!("{before}{begin}{table}{end}{after}");
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(GUIDE, &new).unwrap();
            return;
        }
        assert!(
            guide == new,
            "docs/guide/choosing-a-wall.md is old: UPDATE_DOCS=1 cargo test -p hako-platform --lib guide"
        );
    }
}
