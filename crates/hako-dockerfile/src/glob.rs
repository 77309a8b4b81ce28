//! Go's `filepath.Match` on names parted by `/`: `*`, `?`, `[a-z]`, `[^a]`, `\c`.

use crate::{Error, Result};

fn bad() -> Error {
    Error::value("syntax error in pattern")
}

/// Whether all of `name` matches; `*` and `?` match no `/`.
///
/// # Errors
/// A pattern that is no pattern.
pub fn matches(pattern: &str, name: &str) -> Result<bool> {
    Ok(run(&parts(pattern)?, name))
}

/// Goes through the name with all places of the pattern where one may be: as long
/// as pattern times name, whatever the pattern.
pub(crate) fn run(parts: &[Part], name: &str) -> bool {
    let mut places = vec![false; parts.len() + 1];
    places[0] = true;
    skip(parts, &mut places);
    for char in name.chars() {
        let mut next = vec![false; parts.len() + 1];
        for (place, part) in parts.iter().enumerate().filter(|(place, _)| places[*place]) {
            let (stays, goes_on) = part.takes(char);
            next[place] |= stays;
            next[place + 1] |= goes_on;
        }
        skip(parts, &mut next);
        places = next;
    }
    places[parts.len()]
}

/// Adds the places that are reached without a character.
fn skip(parts: &[Part], places: &mut [bool]) {
    for (place, part) in parts.iter().enumerate() {
        if places[place] {
            match part {
                Part::Star | Part::Deep => places[place + 1] = true,
                Part::Folders => (places[place + 1], places[place + 2]) = (true, true),
                _ => {}
            }
        }
    }
}

/// Whether `pattern` has anything that is not taken as it is.
pub fn has_meta(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '\\'])
}

/// A piece of a pattern.
#[derive(Debug)]
pub(crate) enum Part {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Star,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Anything, slashes too.
    Deep,
    /// No folder or some: always before [`Part::InFolders`].
    Folders,
    /// In the folders' names, up to a slash.
    InFolders,
}

impl Part {
    /// Whether the character is taken and the place stays, and whether it goes on.
    fn takes(&self, char: char) -> (bool, bool) {
        match self {
            Self::Char(own) => (false, *own == char),
            Self::Any => (false, char != '/'),
            Self::Star => (char != '/', false),
            // As in Go, a class may take a slash.
            Self::Class { negated, ranges } => {
                (false, ranges.iter().any(|(low, high)| (*low..=*high).contains(&char)) != *negated)
            }
            Self::Deep => (true, false),
            Self::Folders => (false, false),
            Self::InFolders => (true, char == '/'),
        }
    }
}

pub(crate) fn parts(pattern: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        parts.push(match char {
            '*' => Part::Star,
            '?' => Part::Any,
            '\\' => Part::Char(chars.next().ok_or_else(bad)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.peek() != Some(&']') {
                    let low = bound(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { bound(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                chars.next();
                Part::Class { negated, ranges }
            }
            char => Part::Char(char),
        });
    }
    Ok(parts)
}

/// One end of a range.
fn bound(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char> {
    match chars.next() {
        Some('\\') => chars.next().ok_or_else(bad),
        Some('-' | ']') | None => Err(bad()),
        Some(char) => Ok(char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            ("a?b", "aöb", true),
            ("a[^a]b", "aöb", true),
            ("a???b", "aöb", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            (r"[\]a]", "]", true),
            (r"[\-x]", "-", true),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("*x", "xxx", true),
            ("*[^x]*c", "a/bc", true),
        ] {
            assert_eq!(matches(pattern, name).unwrap(), expected, "{pattern} {name}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "[a-\\"] {
            assert!(matches(pattern, "a").is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in r"([*?a-c/\\^\[\]-]|\PC){0,30}", name in "[a-c/]{0,30}") {
            let _ = matches(&pattern, &name);
        }

        #[test]
        fn a_name_matches_itself(name in "[a-z0-9/._ -]{0,30}") {
            prop_assert!(matches(&name, &name).unwrap());
        }
    }
}
