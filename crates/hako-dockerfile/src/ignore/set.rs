//! All patterns at once: one look at a name says which of them match, however
//! many there are.

use super::{Pattern, Rule};
use crate::glob::Part;
use regex::{RegexSet, RegexSetBuilder};
use std::{collections::HashMap, fmt::Write};

/// Fewer than this are tried one after the other.
const FEW: usize = 8;
/// What the automaton may take, and what it may remember of itself while it runs.
const SIZE: usize = 64 << 20;
const CACHE: usize = 32 << 20;

/// Patterns by their places.
#[derive(Debug)]
pub(super) struct Set {
    /// Plain names, and the last pattern that is it.
    exact: HashMap<String, usize>,
    /// The places of the others, in order.
    others: Vec<usize>,
    /// The same as one; `None` for few and for those that are too large.
    automaton: Option<RegexSet>,
}

impl Set {
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        let mut set = Self { exact: HashMap::new(), others: Vec::new(), automaton: None };
        for (place, pattern) in patterns.iter().enumerate() {
            match pattern.rule {
                Rule::Exact => drop(set.exact.insert(pattern.text.clone(), place)),
                Rule::Suffix(_) | Rule::Parts(_) => set.others.push(place),
            }
        }
        if set.others.len() >= FEW {
            set.automaton = automaton(set.others.iter().map(|place| &patterns[*place]));
        }
        set
    }

    /// The last of the patterns that matches the name.
    pub(super) fn last(&self, patterns: &[Pattern], name: &str) -> Option<usize> {
        let other = match &self.automaton {
            Some(automaton) => automaton.matches(name).iter().next_back().map(|n| self.others[n]),
            None => self.others.iter().copied().rfind(|place| patterns[*place].matches(name)),
        };
        self.exact.get(name).copied().max(other)
    }
}

fn automaton<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> Option<RegexSet> {
    let texts = patterns.map(|pattern| format!(r"\A(?s:{})\z", regex(&pattern.text, &pattern.rule)));
    RegexSetBuilder::new(texts).size_limit(SIZE).dfa_size_limit(CACHE).build().ok()
}

fn regex(text: &str, rule: &Rule) -> String {
    let plain = |text: &str| text.chars().fold(String::new(), |all, char| all + &char_of(char));
    match rule {
        Rule::Exact => plain(text),
        Rule::Suffix(suffix) => match suffix.strip_prefix('/') {
            Some(name) => format!("(?:.*/)?{}", plain(name)),
            None => format!(".*{}", plain(suffix)),
        },
        Rule::Parts(parts) => parts.iter().map(part).collect(),
    }
}

fn char_of(char: char) -> String {
    format!(r"\x{{{:x}}}", u32::from(char))
}

fn part(part: &Part) -> String {
    match part {
        Part::Char(char) => char_of(*char),
        Part::Any => "[^/]".to_owned(),
        Part::Star => "[^/]*".to_owned(),
        Part::Class { negated, ranges } => {
            // Nothing and everything, so that a class without a range is one too.
            let mut class = if *negated { "[^".to_owned() } else { "[".to_owned() };
            let mut any = false;
            for (low, high) in ranges.iter().filter(|(low, high)| low <= high) {
                any = true;
                // A text takes all that is written to it.
                let _ = write!(class, "{}-{}", char_of(*low), char_of(*high));
            }
            match (any, negated) {
                (true, _) => class + "]",
                (false, true) => ".".to_owned(),
                (false, false) => r"[^\x{0}-\x{10ffff}]".to_owned(),
            }
        }
        Part::Deep => ".*".to_owned(),
        Part::Folders => "(?:".to_owned(),
        Part::InFolders => ".*/)?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn read(texts: &[String]) -> Vec<Pattern> {
        texts.iter().filter_map(|text| super::super::pattern(text).ok()).collect()
    }

    proptest! {
        /// One automaton says what each pattern says by itself.
        #[test]
        fn all_at_once(
            texts in proptest::collection::vec(r"(\*\*|[*?a-c/]|\[\^?[a-c](-[a-c])?\]|\\[*a]|ö){1,8}", 0..6),
            name in "[a-cö/*]{0,10}",
        ) {
            let patterns = read(&texts);
            let one_by_one = patterns.iter().rposition(|pattern| pattern.matches(&name));
            let mut set = Set::new(&patterns);
            prop_assert_eq!(set.last(&patterns, &name), one_by_one);
            set.automaton = automaton(set.others.iter().map(|place| &patterns[*place]));
            prop_assert!(set.automaton.is_some());
            prop_assert_eq!(set.last(&patterns, &name), one_by_one, "{:?}", texts);
        }
    }

    /// 2,000 patterns of every kind, held against 20,000 files: 3 minutes when
    /// each was tried by itself.
    #[test]
    fn many_patterns() {
        let kinds: [fn(usize) -> String; 6] = [
            |n| format!("target/dir{n}"),
            |n| format!("**/build{n}"),
            |n| format!("src/dir{n}/*.o"),
            |n| format!("**/*.x{n}"),
            |n| format!("*cache{n}*"),
            |n| format!("!**/keep[a-c]{n}?"),
        ];
        let texts: Vec<String> = (0..2000).map(|n| kinds[n % kinds.len()](n)).collect();
        let patterns = super::super::Patterns::new(&texts).unwrap();
        let begin = Instant::now();
        let mut out = 0;
        for n in 0..20_000 {
            let path = format!("src/dir{}/sub{}/file_{n}.{}", n % 300, n % 37, if n % 2 == 0 { "rs" } else { "x3" });
            out += usize::from(patterns.matches(&path));
        }
        let took = begin.elapsed();
        assert_eq!(out, 10_000);
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
