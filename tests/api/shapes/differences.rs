//! Where Hako's answers are not those of dockerd 20.10, and why.

use super::canon::Difference;
use hako_tests::Wall;

/// One field, or all below it.
pub struct Row {
    /// The path of a [`Difference`]; `*` stands for any text.
    pub path: &'static str,
    wall: Option<Wall>,
    /// Why it is so: for the reader.
    #[allow(dead_code)]
    why: &'static str,
}

impl Row {
    /// Whether it speaks of `difference`.
    pub fn is(&self, difference: &Difference, wall: Wall) -> bool {
        self.holds_behind(wall) && fits(self.path, &difference.path)
    }

    /// Whether it speaks of this wall.
    pub fn holds_behind(&self, wall: Wall) -> bool {
        self.wall.is_none_or(|only| only == wall)
    }
}

/// Whether `path` is of the form `pattern`.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => {
            let Some(rest) = path.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }
    }
}

const fn both(path: &'static str, why: &'static str) -> Row {
    Row { path, wall: None, why }
}

/// The rows.
pub const TABLE: &[Row] = &[
    both("inspect, *.HostConfig.Isolation", "the wall is shown"),
];

#[test]
fn patterns() {
    assert!(fits("a.*.c", "a.b.x.c") && fits("*", "") && fits("a*", "ab"));
    assert!(!fits("a.*.c", "a.b") && !fits("a", "ab"));
}
