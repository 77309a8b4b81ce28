//! The filters of the image list.

use super::{Document, ListParams, names};
use chrono::{DateTime, Utc};
use hako_api::time;
use hako_model::{Error, Reference, Result};
use hako_store::{ImageRow, RefRow, Store};

/// Filters, read and looked up.
#[derive(Debug, Default)]
pub(super) struct Filters {
    dangling: Option<bool>,
    references: Vec<String>,
    labels: Vec<String>,
    before: Option<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
}

impl Filters {
    pub fn read(store: &Store, params: &ListParams) -> Result<Self> {
        let mut filters = Self::default();
        for (key, values) in &params.filters {
            for value in values {
                match key.as_str() {
                    "dangling" => filters.dangling = Some(boolean(value)?),
                    "reference" => filters.references.push(value.clone()),
                    "label" => filters.labels.push(value.clone()),
                    "before" => filters.made_before(made_exactly(&names::find(store, value)?.image)),
                    "since" => filters.made_since(made_exactly(&names::find(store, value)?.image)),
                    "until" => until(value)?.into_iter().for_each(|time| filters.made_before(time)),
                    _ => return Err(Error::invalid(format!("invalid filter '{key}'"))),
                }
            }
        }
        Ok(filters)
    }

    /// Of several the earliest counts.
    fn made_before(&mut self, time: DateTime<Utc>) {
        self.before = Some(self.before.map_or(time, |before| before.min(time)));
    }

    /// Of several the latest counts.
    fn made_since(&mut self, time: DateTime<Utc>) {
        self.since = Some(self.since.map_or(time, |since| since.max(time)));
    }

    /// Whether the image stays; `rows` loses the names that do not match.
    pub fn accept(&self, image: &ImageRow, document: &Document, rows: &mut Vec<RefRow>) -> bool {
        let created = made_exactly(image);
        let in_time = self.before.is_none_or(|t| created < t) && self.since.is_none_or(|t| created > t);
        let label = |want: &String| match want.split_once('=') {
            Some((key, value)) => document.config.labels.get(key).is_some_and(|v| v == value),
            None => document.config.labels.contains_key(want),
        };
        if !in_time || !self.labels.iter().all(label) {
            return false;
        }
        let tagged = rows.iter().any(|row| !names::split(&row.name).1);
        // What only a digest names is neither.
        let stays = match self.dangling {
            None => true,
            Some(true) => !tagged,
            Some(false) => !rows.is_empty(),
        };
        if !stays {
            return false;
        }
        if self.references.is_empty() {
            return true;
        }
        rows.retain(|row| self.references.iter().any(|pattern| names_match(pattern, &row.name)));
        !rows.is_empty()
    }
}

/// When an image was made, seconds since 1970.
pub(super) fn made(image: &ImageRow) -> i64 {
    made_exactly(image).timestamp()
}

/// The same to the nanosecond: steps of a build are made within one second.
pub(super) fn made_exactly(image: &ImageRow) -> DateTime<Utc> {
    let created = image.created.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
    created.map_or(DateTime::UNIX_EPOCH, |t| t.to_utc())
}

pub(super) fn boolean(value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(Error::invalid(format!("invalid filter 'dangling=[{value}]'"))),
    }
}

/// `None` for what means no limit.
fn until(value: &str) -> Result<Option<DateTime<Utc>>> {
    time::parse_query("until", value).map_err(|_| Error::invalid(format!("invalid filter 'until={value}'")))
}

/// Docker's rule: the pattern is held against the familiar name with and without tag.
fn names_match(pattern: &str, stored: &str) -> bool {
    let Ok(reference) = Reference::parse(stored) else { return false };
    glob(pattern.as_bytes(), reference.familiar().as_bytes())
        || glob(pattern.as_bytes(), reference.repository.familiar().as_bytes())
        // A pattern may be written canonically too.
        || glob(pattern.as_bytes(), stored.as_bytes())
}

/// Go's `path.Match`: `*` and `?` do not cross a slash, `[a-z]` and `[^a]` are sets.
/// Work is bounded: a pattern is held against each position at most once per star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        let step = if t < text.len() && p < pattern.len() { one(&pattern[p..], text[t]) } else { None };
        if let Some(width) = step {
            p += width;
            t += 1;
        } else if p == pattern.len() && t == text.len() {
            return true;
        } else {
            match star {
                Some((after, at)) if at < text.len() && text[at] != b'/' => {
                    star = Some((after, at + 1));
                    (p, t) = (after, at + 1);
                }
                _ => return false,
            }
        }
    }
}

/// How much of the pattern one byte satisfies.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => (byte != b'/').then_some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        b'[' => set(pattern, byte),
        literal => (literal == byte).then_some(1),
    }
}

fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let start = if negated { 2 } else { 1 };
    let end = start + pattern.get(start..)?.iter().position(|b| *b == b']')?;
    let (mut found, mut i) = (false, start);
    while i < end {
        if i + 2 < end && pattern[i + 1] == b'-' {
            found |= (pattern[i]..=pattern[i + 2]).contains(&byte);
            i += 3;
        } else {
            found |= pattern[i] == byte;
            i += 1;
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("busy*", "busybox", true),
            ("busy*", "busybox:1", true),
            ("b*x", "busybox", true),
            ("b*x", "busyboxy", false),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b[a-c]x", "bbx", true),
            ("b[^a-c]x", "bbx", false),
            ("[", "a", false),
            ("?usybox", "busybox", true),
            ("*:latest", "busybox:latest", true),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let evil = "*a".repeat(50);
        assert!(!glob(evil.as_bytes(), "a".repeat(10_000).replace('a', "b").as_bytes()));
        assert!(names_match("busybox", "docker.io/library/busybox:1"));
        assert!(names_match("localhost:5000/*", "localhost:5000/a:1"));
        assert!(!names_match("busy", "docker.io/library/busybox:1"));
    }

    #[test]
    fn times() {
        let unix = |text: &str| until(text).unwrap().map(|time| (time.timestamp(), time.timestamp_subsec_nanos()));
        assert_eq!(unix("100.5"), Some((100, 500_000_000)));
        assert_eq!(unix("0"), None);
        assert!(unix("1h30m").unwrap().0 < Utc::now().timestamp() - 5300);
        assert!(until("soon").is_err());
    }

    fn image(n: u8, created: Option<&str>) -> ImageRow {
        ImageRow {
            id: hako_model::Digest::from_sha256([n; 32]),
            size: 0,
            created: created.map(str::to_owned),
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: String::new(),
            hidden: false,
            last_tagged: None,
        }
    }

    /// Steps of a build are made within one second.
    #[test]
    fn nanoseconds_count() {
        let times = ["2020-01-01T00:00:00.000000001Z", "2020-01-01T00:00:00.000000002Z", "2020-01-01T00:00:00.5Z"];
        let mut images: Vec<ImageRow> = times.iter().zip(0..).map(|(time, n)| image(n, Some(time))).collect();
        images.push(image(9, None));
        let accepted = |filters: &Filters| -> Vec<usize> {
            let fits = |image: &ImageRow| filters.accept(image, &Document::default(), &mut Vec::new());
            (0..images.len()).filter(|n| fits(&images[*n])).collect()
        };
        let of = |n: usize| made_exactly(&images[n]);
        let mut filters = Filters::default();
        assert_eq!(accepted(&filters), [0, 1, 2, 3]);
        filters.made_since(of(0));
        assert_eq!(accepted(&filters), [1, 2]);
        filters.made_before(of(2));
        assert_eq!(accepted(&filters), [1]);
        // Each narrows the others.
        filters.made_before(Utc::now());
        assert_eq!(accepted(&filters), [1]);
        filters.made_since(of(1));
        assert!(accepted(&filters).is_empty());
        let mut filters = Filters::default();
        filters.made_since(DateTime::UNIX_EPOCH);
        filters.made_before(until("1577836800.000000002").unwrap().unwrap());
        assert_eq!(accepted(&filters), [0]);
    }
}
