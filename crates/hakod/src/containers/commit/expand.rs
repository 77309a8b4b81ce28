//! Words of a Dockerfile instruction: parted at blanks, without their quotes,
//! and with variables replaced, as Docker's shell lexer does it.

use hako_model::{Error, Result};
use std::{iter::Peekable, str::Chars};

/// The variables, the latest value of a name last.
pub(super) type Env<'a> = &'a [String];

/// Parts `text` at blanks that are neither quoted nor escaped; quotes stay.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            (' ' | '\t', None) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            // An escape has no meaning in single quotes.
            ('\\', None | Some('"')) => {
                word.push(char);
                word.extend(chars.next());
                continue;
            }
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (_, _) => {}
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The most `${` in one word: each may stand in the one before it, and a
/// client's line must not use up the stack.
const MAX_SUBSTITUTIONS: usize = 256;

/// One word without its quotes and with its variables replaced.
///
/// # Errors
/// An unfinished quote or variable, or too many of them.
pub(super) fn expand(word: &str, env: Env<'_>) -> Result<String> {
    if word.matches("${").count() > MAX_SUBSTITUTIONS {
        return Err(Error::invalid(format!("a word has more than {MAX_SUBSTITUTIONS} substitutions")));
    }
    let mut out = String::new();
    let mut chars = word.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' => loop {
                match chars.next() {
                    Some('\'') => break,
                    Some(char) => out.push(char),
                    None => {
                        return Err(Error::invalid(
                            "unexpected end of statement while looking for matching single-quote",
                        ));
                    }
                }
            },
            '"' => double_quoted(&mut chars, env, &mut out)?,
            '$' => variable(&mut chars, env, &mut out)?,
            '\\' => out.extend(chars.next()),
            char => out.push(char),
        }
    }
    Ok(out)
}

fn double_quoted(chars: &mut Peekable<Chars<'_>>, env: Env<'_>, out: &mut String) -> Result<()> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('$') => variable(chars, env, out)?,
            Some('\\') => match chars.next() {
                Some(char @ ('"' | '$' | '\\')) => out.push(char),
                // Of no meaning here: the backslash stays.
                Some(char) => out.extend(['\\', char]),
                None => {
                    return Err(Error::invalid("unexpected end of statement while looking for matching double-quote"));
                }
            },
            Some(char) => out.push(char),
            None => return Err(Error::invalid("unexpected end of statement while looking for matching double-quote")),
        }
    }
}

fn name(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(char) = chars.next_if(|char| char.is_ascii_alphanumeric() || *char == '_') {
        name.push(char);
        // `$1` and the like are one digit long.
        if name.len() == 1 && char.is_ascii_digit() {
            break;
        }
    }
    name
}

fn value<'a>(env: Env<'a>, name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

fn variable(chars: &mut Peekable<Chars<'_>>, env: Env<'_>, out: &mut String) -> Result<()> {
    if chars.next_if_eq(&'{').is_none() {
        let name = name(chars);
        if name.is_empty() {
            out.push('$');
        }
        out.push_str(value(env, &name).unwrap_or_default());
        return Ok(());
    }
    let name = name(chars);
    if name.is_empty() {
        return Err(Error::invalid("syntax error: bad substitution"));
    }
    let found = value(env, &name);
    let operator = chars.next().ok_or_else(|| Error::invalid("syntax error: missing '}'"))?;
    let (colon, operator) = match operator {
        '}' => {
            out.push_str(found.unwrap_or_default());
            return Ok(());
        }
        ':' => (true, chars.next().ok_or_else(|| Error::invalid("syntax error: missing '}'"))?),
        other => (false, other),
    };
    let word = expand(&until_brace(chars)?, env)?;
    // With a colon an empty value is as none.
    let set = found.filter(|value| !colon || !value.is_empty());
    match operator {
        '-' => out.push_str(set.unwrap_or(&word)),
        '+' => out.push_str(if set.is_some() { &word } else { "" }),
        '?' => match set {
            Some(value) => out.push_str(value),
            None => {
                let why = if word.is_empty() { "is not allowed to be unset" } else { &word };
                return Err(Error::invalid(format!("{name}: {why}")));
            }
        },
        other => return Err(Error::invalid(format!("unsupported modifier ({other}) in substitution"))),
    }
    Ok(())
}

/// What stands before the brace that closes the variable.
fn until_brace(chars: &mut Peekable<Chars<'_>>) -> Result<String> {
    let mut word = String::new();
    let mut depth = 0;
    for char in chars.by_ref() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => return Ok(word),
            '}' => depth -= 1,
            _ => {}
        }
        word.push(char);
    }
    Err(Error::invalid("syntax error: missing '}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(words(r#"a "b c" d\ e 'f "g'"#), ["a", r#""b c""#, r"d\ e", r#"'f "g'"#]);
    }

    #[test]
    fn a_line_does_not_use_up_the_stack() {
        let nested = |depth| "${A:-".repeat(depth) + "x" + &"}".repeat(depth);
        assert_eq!(expand(&nested(MAX_SUBSTITUTIONS), &[]).unwrap(), "x");
        for depth in [MAX_SUBSTITUTIONS + 1, 100_000] {
            assert!(expand(&nested(depth), &[]).is_err());
        }
    }

    #[test]
    fn variables() {
        let env = ["A=1".to_owned(), "E=".to_owned(), "A=2".to_owned()];
        let cases = [
            ("$A", "2"),
            ("${A}x", "2x"),
            ("$B.", "."),
            ("'$A'", "$A"),
            (r#""$A \$ \x""#, r"2 $ \x"),
            (r"\$A", "$A"),
            ("${B:-d}", "d"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${A:+yes}", "yes"),
            ("${B:+yes}", ""),
            ("${B:-${A}}", "2"),
            ("a$", "a$"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
        for text in ["'a", "\"a", "${A", "${}", "${A%x}", "${B:?gone}"] {
            assert!(expand(text, &env).is_err(), "{text}");
        }
    }
}
