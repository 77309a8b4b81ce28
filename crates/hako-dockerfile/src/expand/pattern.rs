//! The shell's patterns in `${a#p}`, `${a%p}` and `${a/p/w}`: `?` is one
//! character, `*` any number of them, a backslash takes the meaning away.

use regex_lite::Regex;

/// The longest pattern: matching costs its length times the value's.
const MAX_PATTERN: usize = 1024;

type Result<T> = std::result::Result<T, String>;

fn regex(pattern: &str, greedy: bool, head: &str, tail: &str) -> Result<Regex> {
    let invalid = |why: String| format!("invalid pattern ({pattern}) in substitution: {why}");
    if pattern.len() > MAX_PATTERN {
        return Err(format!("a pattern of more than {MAX_PATTERN} bytes in substitution"));
    }
    let mut text = head.to_owned();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' => text.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => text.push('.'),
            // `}` and `/` are escaped for the lexer alone.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(next @ ('*' | '?' | '\\')) => text.extend(['\\', next]),
                Some(next) => return Err(invalid(format!("invalid escape '\\{next}'"))),
                None => return Err(invalid("invalid escape at its end".into())),
            },
            char => text.push_str(&regex_lite::escape(char.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push_str(tail);
    Regex::new(&text).map_err(|err| invalid(err.to_string()))
}

/// `value` without what matches at its beginning: the least, or the most.
pub(super) fn trim_prefix(pattern: &str, value: &str, greedy: bool) -> Result<String> {
    let found = regex(pattern, greedy, "^", "")?.find(value).map_or(0, |found| found.end());
    Ok(value[found..].to_owned())
}

/// `value` without what matches at its end: the least, or the most.
pub(super) fn trim_suffix(pattern: &str, value: &str, greedy: bool) -> Result<String> {
    // The least at the end is what follows the most before it.
    let head = if greedy { "^((?s:.*?))" } else { "^((?s:.*))" };
    let found = regex(pattern, true, head, "$")?;
    let kept = found.captures(value).and_then(|found| found.get(1)).map_or(value.len(), |kept| kept.end());
    Ok(value[..kept].to_owned())
}

/// `value` with the first match, or all, replaced; `None` if it gets longer than `most`.
pub(super) fn replace(pattern: &str, value: &str, replacement: &str, all: bool, most: usize) -> Result<Option<String>> {
    let regex = regex(pattern, true, "", "")?;
    let mut text = String::new();
    let mut done = 0;
    for found in regex.find_iter(value).take(if all { usize::MAX } else { 1 }) {
        text.push_str(&value[done..found.start()]);
        text.push_str(replacement);
        done = found.end();
        if text.len() > most {
            return Ok(None);
        }
    }
    text.push_str(&value[done..]);
    Ok(Some(text))
}
