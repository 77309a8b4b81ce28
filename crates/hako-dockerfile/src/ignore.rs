//! `.dockerignore`: which files are no part of a build's context.
//!
//! One pattern a line, `#` begins a comment, `!` takes files back in, the last
//! pattern that matches a file or a folder above it counts. `*` and `?` match no
//! `/`; `**` matches any number of folders. As moby's patternmatcher has it, its
//! oddities included: `**name` alone also matches `xname`.

mod set;

use crate::{
    Error, Result,
    glob::{self, Part},
};
use set::Set;
use std::{collections::BTreeSet, ops::Bound, sync::OnceLock};

/// The patterns of a `.dockerignore`, or of `--exclude`.
#[derive(Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// Made of them when it is first asked.
    set: OnceLock<Set>,
    /// What is taken back in, each with a slash at its end.
    exceptions: OnceLock<BTreeSet<String>>,
}

/// What the patterns say of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The last pattern that matches it or a folder above it.
    last: Option<usize>,
    /// Whether it is left out by that.
    pub out: bool,
}

#[derive(Debug)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    exception: bool,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Exact,
    /// `**` and a text.
    Suffix(String),
    Parts(Vec<Part>),
}

/// The lines of a `.dockerignore` that are patterns, cleaned.
pub fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let patterns = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    let cleaned = patterns.filter(|line| !line.is_empty()).map(|line| {
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        if pattern.is_empty() {
            return mark.to_owned();
        }
        let pattern = clean(pattern);
        let below = pattern.strip_prefix('/').filter(|rest| !rest.is_empty());
        format!("{mark}{}", below.unwrap_or(&pattern))
    });
    cleaned.collect()
}

/// Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".into(),
        (false, rest) => rest,
    }
}

impl Patterns {
    /// The patterns of a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn parse(text: &[u8]) -> Result<Self> {
        Self::new(&lines(text))
    }

    /// Patterns, one each; `!` takes back in.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let found = patterns.iter().map(|text| text.as_ref().trim()).filter(|text| !text.is_empty());
        Ok(Self { patterns: found.map(pattern).collect::<Result<_>>()?, ..Self::default() })
    }

    /// Adds a pattern after the others.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn push(&mut self, text: &str) -> Result<()> {
        self.patterns.push(pattern(text)?);
        (self.set, self.exceptions) = (OnceLock::new(), OnceLock::new());
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the file or folder `path`, relative and with `/`, is left out, by
    /// itself or with a folder above it.
    pub fn matches(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        ends.fold(Verdict::default(), |above, end| self.judge(above, &path[..end])).out
    }

    /// The same where it is known what becomes of the folder that `path` is in;
    /// of one in the context itself nothing is known.
    pub fn judge(&self, above: Verdict, path: &str) -> Verdict {
        // The context itself is always in.
        if path.is_empty() || path == "." {
            return above;
        }
        let set = self.set.get_or_init(|| Set::new(&self.patterns));
        let last = set.last(&self.patterns, path).max(above.last);
        Verdict { last, out: last.is_some_and(|place| !self.patterns[place].exception) }
    }

    /// Whether nothing below the folder `path`, which [`Patterns::matches`], is
    /// taken back in by name, so that it need not be looked into.
    pub fn prunes(&self, path: &str) -> bool {
        let exceptions = self.exceptions.get_or_init(|| {
            let exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
            exceptions.map(|pattern| format!("{}/", pattern.text)).collect()
        });
        let folder = format!("{path}/");
        let from = (Bound::Included(folder.as_str()), Bound::Unbounded);
        exceptions.range::<str, _>(from).next().is_none_or(|text| !text.starts_with(&folder))
    }
}

fn pattern(text: &str) -> Result<Pattern> {
    let text = clean(text.trim());
    let (exception, text) = match text.strip_prefix('!') {
        Some("") => return Err(Error::value("illegal exclusion pattern: \"!\"")),
        Some(rest) => (true, rest.to_owned()),
        None => (false, text),
    };
    // What is no pattern for Go is none, whatever it would be here.
    glob::parts(&text)?;
    Ok(Pattern { exception, rule: rule(&text)?, text })
}

fn rule(text: &str) -> Result<Rule> {
    if !glob::has_meta(text) && !text.contains(']') {
        return Ok(Rule::Exact);
    }
    if let Some(rest) = text.strip_prefix("**")
        && !glob::has_meta(rest)
        && !rest.contains(']')
    {
        return Ok(Rule::Suffix(rest.to_owned()));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = deep(rest) {
        parts.extend(glob::parts(&rest[..at])?);
        let after = &rest[at + 2..];
        rest = after.strip_prefix('/').unwrap_or(after);
        if rest.is_empty() {
            parts.push(Part::Deep);
        } else {
            parts.extend([Part::Folders, Part::InFolders]);
        }
    }
    parts.extend(glob::parts(rest)?);
    Ok(Rule::Parts(parts))
}

/// Where a `**` stands that is neither escaped nor in a class.
fn deep(text: &str) -> Option<usize> {
    let mut class = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'[' => class = true,
            b']' => class = false,
            b'*' if !class && text[at + 1..].starts_with('*') => return Some(at),
            _ => {}
        }
    }
    None
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.rule {
            Rule::Exact => path == self.text,
            Rule::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Rule::Parts(parts) => glob::run(parts, path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn out(patterns: &[&str], path: &str) -> bool {
        Patterns::new(patterns).unwrap().matches(path)
    }

    #[test]
    fn one_pattern() {
        for (pattern, path, expected) in [
            ("*", "file.go", true),
            ("*.go", "file.go", true),
            ("*.go", "dir/file.go", false),
            ("dir", "dir/sub/file", true),
            ("dir/", "dir/file", true),
            ("./dir//sub/..", "dir/file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/sub/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "a/dir/file", true),
            ("**/dir2/*", "dir/dir2/file/x", true),
            ("**file", "file", true),
            ("**file", "dir/xfile", true),
            ("**/file", "dir/xfile", false),
            ("**/.foo", "bar.foo", false),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a**/*.txt", "ab/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            (".*", ".foo", true),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("a(b)c/+{}|$", "a(b)c/+{}|$", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\", r"a\", true),
            ("x/**/y", "x/y", true),
            ("x/**/y", "x/a/b/y", true),
            ("x/**/y", "xa/y", false),
            ("*", ".", false),
        ] {
            assert_eq!(out(&[pattern], path), expected, "{pattern} {path}");
        }
        for pattern in ["!", "[", "a[", "\\"] {
            assert!(Patterns::new(&[pattern]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn exceptions_by_their_order() {
        for (patterns, path, expected) in [
            (&["!a.go", "*.go"][..], "a.go", true),
            (&["*.go", "!a.go"], "a.go", false),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/other", true),
            (&["**", "!util/web"], "util/web/foo", false),
            (&["**", "!util/web", "util/web/foo"], "util/web/foo", true),
            (&["*", "  !a  "], "a", false),
        ] {
            assert_eq!(out(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn folders_that_need_not_be_looked_into() {
        let patterns = Patterns::new(&["*", "!src/lib", "!**/x.md"]).unwrap();
        assert!(patterns.matches("src") && !patterns.prunes("src"));
        assert!(patterns.prunes("target") && patterns.prunes("sr"));
    }

    #[test]
    fn the_file() {
        let text = b"\xef\xbb\xbf# comment\n\n  /target/ \n!  ./keep/../kept\n #no comment\n*.o\r\n!\n";
        assert_eq!(lines(text), ["target", "!kept", "#no comment", "*.o", "!"]);
        assert!(Patterns::parse(text).is_err());
        assert!(Patterns::parse(b"\n#\n").unwrap().is_empty());
        assert_eq!(["a//b/./c/..", "/..", "../a", ""].map(clean), ["a/b", "/", "../a", "."]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in r"([*!?a-c/\\^\n\[\]. -]|\PC){0,40}", path in "[a-c/.]{0,20}") {
            if let Ok(patterns) = Patterns::parse(text.as_bytes()) {
                let _ = patterns.matches(&path);
                let _ = patterns.prunes(&path);
            }
        }
    }
}
