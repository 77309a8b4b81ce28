//! The table as plain text and as Markdown.

use super::{Heading, Matrix};
use std::fmt::Write;

const LEGEND: &str = "P: runs behind the process wall. H: runs behind the hyperv wall. –: runs behind neither.";

/// Superscript digits: they stay with what they belong to.
pub(super) fn mark(note: Option<usize>) -> String {
    let digit = |c: char| c.to_digit(10).and_then(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize));
    note.map_or_else(String::new, |number| number.to_string().chars().filter_map(digit).collect())
}

/// Two blanks between columns: the table is wide.
fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.chars().count());
    format!("{text}{:blanks$}  ", "")
}

impl Matrix {
    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.head()];
        lines.extend(self.hosts.iter().map(|line| {
            let cells = line.cells.iter().map(|cell| format!("{}{}", cell.letters(), mark(cell.note)));
            let host = [titled(&line.heading), line.heading.version.clone(), line.default.to_string()];
            host.into_iter().chain(cells).collect()
        }));
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in &lines {
            let text: String = line.iter().zip(&widths).map(|(cell, width)| padded(cell, *width)).collect();
            let _ = writeln!(out, "{}", text.trim_end());
        }
        let _ = writeln!(out, "\n{LEGEND}");
        for (at, note) in self.notes.iter().enumerate() {
            let _ = writeln!(out, "{} {note}.", mark(Some(at + 1)));
        }
        out
    }

    /// For documents.
    #[must_use]
    pub fn markdown(&self) -> String {
        let head = self.head();
        let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for line in &self.hosts {
            let _ = write!(out, "| {} | {} | {} |", titled(&line.heading), line.heading.version, line.default);
            for cell in &line.cells {
                let _ = write!(out, " {}{} |", cell.letters(), mark(cell.note));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "\n{LEGEND}");
        for (at, note) in self.notes.iter().enumerate() {
            let _ = write!(out, "\n{} {note}.\n", mark(Some(at + 1)));
        }
        out
    }

    fn head(&self) -> Vec<String> {
        let fixed = ["Host ↓ / image →", "Build", "Default"].map(str::to_owned);
        fixed.into_iter().chain(self.images.iter().map(titled)).collect()
    }
}

fn titled(heading: &Heading) -> String {
    format!("{}{}", heading.title, mark(heading.note))
}
