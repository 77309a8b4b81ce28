//! Quotes, escapes and variables of one word, as Docker's shell lexer does them:
//! `$a`, `${a}`, `${a:-w}` `${a:+w}` `${a:?w}` (and without the colon), `${a#p}`
//! `${a##p}` `${a%p}` `${a%%p}`, `${a/p/w}` `${a//p/w}`, within one another.
//!
//! The words are a stranger's: how deep substitutions stand in one another, how
//! long a result grows and how long a pattern is are bounded.

mod lexer;
mod pattern;

use crate::{Error, Result};
pub(crate) use lexer::Rules;
use lexer::{Lexer, Output};

/// Gives a variable's value; `None` where it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The longest word that an expansion may give. A process's argument ends at 128 KiB.
pub const MAX_WORD: usize = 1 << 20;

/// The longest heredoc that an expansion may give.
pub const MAX_HEREDOC: usize = 16 << 20;

/// `word` without its quotes and escapes and with its variables replaced.
///
/// # Errors
/// Docker's words for what is wrong, with the word.
pub fn expand(word: &str, env: Lookup<'_>, escape: char) -> Result<String> {
    process(word, env, Rules::word(escape), MAX_WORD).map(|output| output.text)
}

/// As [`expand`], and the result parted at blanks that were not quoted: also at
/// those of a variable's value. For `EXPOSE`.
///
/// # Errors
/// As for [`expand`].
pub fn expand_words(word: &str, env: Lookup<'_>, escape: char) -> Result<Vec<String>> {
    process(word, env, Rules::word(escape), MAX_WORD).map(Output::into_words)
}

/// The text of a heredoc with its variables replaced; quotes in it are text.
///
/// # Errors
/// As for [`expand`].
pub fn expand_heredoc(text: &str, env: Lookup<'_>, escape: char) -> Result<String> {
    let rules = Rules { quotes: false, ..Rules::word(escape) };
    process(text, env, rules, MAX_HEREDOC).map(|output| output.text)
}

/// The words of `line`, quotes kept or not as `rules` say, and no variable replaced.
pub(crate) fn plain_words(line: &str, rules: Rules) -> Result<Vec<String>> {
    process(line, &|_| None, rules, MAX_HEREDOC).map(Output::into_words)
}

fn process(word: &str, env: Lookup<'_>, rules: Rules, most: usize) -> Result<Output> {
    Lexer::new(word, env, rules, most).run().map_err(|text| {
        let shown: String = word.chars().take(256).collect();
        Error::Value(format!("failed to process {shown:?}: {text}"))
    })
}

#[cfg(test)]
mod tests;
