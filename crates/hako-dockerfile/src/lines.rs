//! The lines of a Dockerfile: directives, comments, continued lines and heredocs.

use crate::{
    Error, Result,
    expand::{Rules, plain_words},
    instruction,
    types::Heredoc,
};

/// One instruction's line, continued ones joined and comments left out.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it begins, from 1.
    pub number: usize,
    pub text: String,
    /// The heredocs that it names, in order.
    pub heredocs: Vec<Heredoc>,
}

/// What comments at the very beginning say.
#[derive(Debug)]
pub(crate) struct Directives {
    pub syntax: Option<String>,
    pub escape: char,
}

/// Parts a Dockerfile into its instructions.
///
/// # Errors
/// What is no UTF-8, a wrong directive, a heredoc without end.
pub(crate) fn read(text: &[u8]) -> Result<(Directives, Vec<Line>)> {
    let text = str::from_utf8(text).map_err(|err| {
        let line = text[..err.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::Syntax(format!("line {line} is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = directives(text)?;
    let lines = instructions(text, directives.escape)?;
    if lines.is_empty() {
        return Err(Error::Syntax("file with no instructions".into()));
    }
    Ok((directives, lines))
}

fn directives(text: &str) -> Result<Directives> {
    let mut found = Directives { syntax: None, escape: '\\' };
    let mut seen = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = directive(line) else { break };
        if seen.contains(&key) {
            return Err(Error::Syntax(format!("only one {key} parser directive can be used")));
        }
        match key.as_str() {
            "syntax" => found.syntax = Some(value.to_owned()),
            "escape" if matches!(value, "\\" | "`") => found.escape = value.chars().next().unwrap_or('\\'),
            "escape" => {
                return Err(Error::Syntax(format!("invalid escape token '{value}' does not match ` or \\")));
            }
            _ => {}
        }
        seen.push(key);
    }
    Ok(found)
}

/// `# key=value` with a key that is a directive's.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    (matches!(key.as_str(), "syntax" | "escape" | "check") && !value.is_empty()).then_some((key, value))
}

fn instructions(text: &str, escape: char) -> Result<Vec<Line>> {
    let mut source = text.split_inclusive('\n').zip(1..);
    let mut found = Vec::new();
    while let Some((line, number)) = source.next() {
        let first = line.trim_end_matches(['\r', '\n']).trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let mut text = String::new();
        let mut open = join(&mut text, first, escape);
        while open {
            let Some((line, _)) = source.next() else { break };
            let line = line.trim_end_matches(['\r', '\n']);
            let bare = line.trim_start();
            if !bare.is_empty() && !bare.starts_with('#') {
                open = join(&mut text, line, escape);
            }
        }
        let heredocs = heredocs(&text, escape, &mut source)?;
        found.push(Line { number, text, heredocs });
    }
    Ok(found)
}

/// Adds a line; whether it is continued: it ends in one escape, and blanks after it.
fn join(text: &mut String, line: &str, escape: char) -> bool {
    let continued = line.trim_end_matches([' ', '\t']).strip_suffix(escape).filter(|begun| !begun.ends_with(escape));
    text.push_str(continued.unwrap_or(line));
    continued.is_some()
}

fn heredocs<'a>(line: &str, escape: char, source: &mut impl Iterator<Item = (&'a str, usize)>) -> Result<Vec<Heredoc>> {
    if !line.contains("<<") || !instruction::takes_heredocs(line, escape) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    // A shell's line that cannot be parted has none.
    for word in plain_words(line, Rules::heredocs(true, true)).unwrap_or_default() {
        let Some(mut heredoc) = heredoc(&word) else { continue };
        loop {
            let (line, _) = source.next().ok_or_else(|| Error::Syntax("unterminated heredoc".into()))?;
            let bare = line.trim_end_matches(['\r', '\n']);
            let bare = if heredoc.chomp { bare.trim_start_matches('\t') } else { bare };
            if bare == heredoc.name {
                break;
            }
            heredoc.raw.push_str(line);
        }
        found.push(heredoc);
    }
    Ok(found)
}

/// A word that begins a heredoc: `[number]<<[-]name`.
pub(crate) fn heredoc(word: &str) -> Option<Heredoc> {
    let (number, rest) = word.split_once("<<")?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) || rest.contains('<') {
        return None;
    }
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let one = |keep_quotes| match plain_words(rest, Rules::heredocs(keep_quotes, false)).ok()?.as_slice() {
        [word] => Some(word.clone()),
        _ => None,
    };
    let quotes = |word: &str| word.matches(['\'', '"']).count();
    let (name, raw) = (one(false)?, one(true)?);
    let expand = quotes(&name) == quotes(&raw);
    Some(Heredoc { name, expand, chomp, raw: String::new() })
}

/// Whether a `RUN`'s whole command is the beginning of a heredoc.
pub(crate) fn is_heredoc_word(command: &str) -> bool {
    heredoc(command).is_some()
}
