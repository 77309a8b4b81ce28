//! Parting an instruction's text into words, as Docker's line parsers do.

use crate::{Error, Result};

/// Blanks between words.
pub(crate) fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Parts `text` at blanks that are neither quoted nor escaped; quotes and
/// escapes stay, for [`crate::expand`] to take away.
pub(crate) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if quote.is_none() && char.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        // An escape has no meaning in single quotes, and none at the end.
        if char == escape && quote != Some('\'') {
            if let Some(next) = chars.next() {
                word.extend([char, next]);
            }
            continue;
        }
        match quote {
            Some(open) if open == char => quote = None,
            None if matches!(char, '\'' | '"') => quote = Some(char),
            _ => {}
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `key=value …`, or the older `key value` with one pair on the line.
///
/// # Errors
/// No `=` in a word but the first, or a key without a value.
pub(crate) fn pairs(instruction: &str, text: &str, escape: char) -> Result<Vec<(String, String)>> {
    let found = quoted(text, escape);
    let Some(first) = found.first() else {
        return Err(at_least_one(instruction));
    };
    let mut pairs = Vec::new();
    if first.contains('=') {
        for word in &found {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Error::Syntax(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
            })?;
            pairs.push((key.to_owned(), value.to_owned()));
        }
    } else {
        let (key, value) =
            text.split_once(is_blank).ok_or_else(|| Error::Syntax(format!("{instruction} must have two arguments")))?;
        pairs.push((key.to_owned(), value.trim_start_matches(is_blank).to_owned()));
    }
    if pairs.iter().any(|(key, _)| key.is_empty()) {
        return Err(Error::value(format!("{instruction} names can not be blank")));
    }
    Ok(pairs)
}

pub(crate) fn at_least_one(instruction: &str) -> Error {
    Error::value(format!("{instruction} requires at least one argument"))
}

pub(crate) fn exactly_one(instruction: &str) -> Error {
    Error::value(format!("{instruction} requires exactly one argument"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(quoted(r#"a "b c" d\ e 'f "g'"#, '\\'), ["a", r#""b c""#, r"d\ e", r#"'f "g'"#]);
        assert_eq!(quoted(r"a` b c\", '`'), ["a` b", r"c\"]);
        assert_eq!(quoted("a\\", '\\'), ["a"]);
        assert_eq!(quoted("\"\" x", '\\'), ["\"\"", "x"]);
    }

    #[test]
    fn both_forms_of_pairs() {
        let of = |text| pairs("ENV", text, '\\');
        assert_eq!(of("a=b c='d e'").unwrap(), [("a".into(), "b".into()), ("c".into(), "'d e'".into())]);
        assert_eq!(of("a  b c=d").unwrap(), [("a".into(), "b c=d".into())]);
        assert_eq!(of("a").unwrap_err().to_string(), "failed to parse Dockerfile: ENV must have two arguments");
        assert_eq!(of("=b").unwrap_err().text(), "ENV names can not be blank");
        assert!(of("a=b c").unwrap_err().text().starts_with("Syntax error - can't find = in \"c\""));
        assert_eq!(of("").unwrap_err().text(), "ENV requires at least one argument");
    }
}
