//! The lexer: one pass over the word, a recursion for each substitution.

use super::{Lookup, pattern};

/// How deep substitutions may stand in one another.
const MAX_DEPTH: usize = 256;

/// What is wrong, without the word.
type Result<T> = std::result::Result<T, String>;

/// What has a meaning in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The character that takes the next one's meaning away.
    pub escape: char,
    /// Whether quotes have a meaning.
    pub quotes: bool,
    /// Whether quotes stay in the result.
    pub keep_quotes: bool,
    /// Whether escapes stay in the result.
    pub keep_escapes: bool,
    /// Whether `$name` stays where `name` is not set.
    pub keep_unset: bool,
}

impl Rules {
    /// Those of a word of an instruction.
    pub(crate) fn word(escape: char) -> Self {
        Self { escape, quotes: true, keep_quotes: false, keep_escapes: false, keep_unset: false }
    }

    /// Those of the words of a line in which heredocs are looked for.
    pub(crate) fn heredocs(keep_quotes: bool, keep_escapes: bool) -> Self {
        Self { keep_quotes, keep_escapes, keep_unset: true, ..Self::word('\\') }
    }
}

/// A result, whole and in words.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// A character that ends a word if it is blank.
    fn push(&mut self, char: char) {
        self.text.push(char);
        self.part(char);
    }

    fn part(&mut self, char: char) {
        if !char.is_whitespace() {
            self.word.push(char);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// A variable's value: its blanks part words.
    fn value(&mut self, value: &str) {
        self.text.push_str(value);
        value.chars().for_each(|char| self.part(char));
    }

    /// What was quoted or escaped: its blanks are part of the word.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    pub(super) fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

pub(super) struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    env: Lookup<'a>,
    rules: Rules,
    depth: usize,
    /// How many bytes variables and nested words may still give.
    left: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(word: &'a str, env: Lookup<'a>, rules: Rules, most: usize) -> Self {
        Self { chars: word.chars().peekable(), env, rules, depth: 0, left: most }
    }

    pub(super) fn run(&mut self) -> Result<Output> {
        self.until(None, self.rules.keep_escapes)
    }

    /// Reads up to `stop`, which is taken, or to the end.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<Output> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} substitutions in one another"));
        }
        let before = std::mem::replace(&mut self.rules.keep_escapes, keep_escapes);
        let read = self.read(stop);
        self.rules.keep_escapes = before;
        self.depth -= 1;
        read
    }

    fn read(&mut self, stop: Option<char>) -> Result<Output> {
        let mut output = Output::default();
        while let Some(char) = self.chars.peek().copied() {
            match char {
                _ if stop == Some(char) => {
                    self.chars.next();
                    return Ok(output);
                }
                '$' => {
                    let value = self.dollar()?;
                    output.value(&value);
                }
                '\'' if self.rules.quotes => output.quoted(&self.single_quoted()?),
                '"' if self.rules.quotes => output.quoted(&self.double_quoted()?),
                _ if char == self.rules.escape => {
                    self.chars.next();
                    if self.rules.keep_escapes {
                        output.quoted(char.encode_utf8(&mut [0; 4]));
                    }
                    if let Some(next) = self.chars.next() {
                        output.quoted(next.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => {
                    self.chars.next();
                    output.push(char);
                }
            }
        }
        match stop {
            None => Ok(output),
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
        }
    }

    fn quote(&mut self, text: &mut String) {
        let quote = self.chars.next();
        if self.rules.keep_quotes {
            text.extend(quote);
        }
    }

    /// Nothing has a meaning but the quote that ends it.
    fn single_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.chars.peek() {
                None => return Err("unexpected end of statement while looking for matching single-quote".into()),
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(_) => text.extend(self.chars.next()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            let Some(char) = self.chars.peek().copied() else {
                return Err("unexpected end of statement while looking for matching double-quote".into());
            };
            match char {
                '"' => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ if char == self.rules.escape => {
                    self.chars.next();
                    if self.rules.keep_escapes {
                        text.push(char);
                    }
                    match self.chars.peek().copied() {
                        Some(next) if next == '"' || next == '$' || next == char => text.extend(self.chars.next()),
                        // Of no meaning here: the escape stays, and at the end it goes.
                        Some(_) => text.push(char),
                        None => {}
                    }
                }
                _ => text.extend(self.chars.next()),
            }
        }
    }

    /// A name, a number, or one of the shell's own parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(digit) if digit.is_numeric() => {
                name.extend(std::iter::from_fn(|| self.chars.next_if(|char| char.is_numeric())));
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                let part = |char: &char| char.is_alphanumeric() || *char == '_';
                name.extend(std::iter::from_fn(|| self.chars.next_if(part)));
            }
        }
        name
    }

    /// Counts what a substitution gives.
    fn spend(&mut self, text: String) -> Result<String> {
        self.left = self.left.checked_sub(text.len()).ok_or("the result is too long")?;
        Ok(text)
    }

    fn dollar(&mut self) -> Result<String> {
        self.chars.next();
        let text = if self.chars.next_if_eq(&'{').is_some() { self.braced()? } else { self.bare() };
        self.spend(text)
    }

    fn bare(&mut self) -> String {
        let name = self.name();
        if name.is_empty() {
            return "$".into();
        }
        match (self.env)(&name) {
            None if self.rules.keep_unset => format!("${name}"),
            value => value.unwrap_or_default(),
        }
    }

    fn braced(&mut self) -> Result<String> {
        match self.chars.peek() {
            None => return Err(NO_BRACE.into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let value = (self.env)(&name);
        let operator = self.chars.next().ok_or(NO_BRACE)?;
        match operator {
            '}' if value.is_none() && self.rules.keep_unset => Ok(format!("${{{name}}}")),
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let operator = self.chars.next().ok_or(NO_BRACE)?;
                self.alternative(&name, value, operator, true)
            }
            '+' | '-' | '?' | '#' | '%' => self.alternative(&name, value, operator, false),
            '/' => self.replaced(&name, value),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn alternative(&mut self, name: &str, value: Option<String>, operator: char, colon: bool) -> Result<String> {
        let word = self.inner('}', matches!(operator, '#' | '%'), NO_BRACE)?;
        if value.is_none() && self.rules.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        // With a colon an empty value is as none.
        let set = value.as_deref().filter(|value| !colon || !value.is_empty());
        match operator {
            '-' => Ok(set.map_or(word, str::to_owned)),
            '+' => Ok(if set.is_some() { word } else { String::new() }),
            '?' => set.map(str::to_owned).ok_or_else(|| {
                let state = if value.is_none() { "unset" } else { "empty" };
                let why = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                format!("{name}: {why}")
            }),
            '#' | '%' => {
                let (greedy, word) = match word.strip_prefix(operator) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                let value = value.unwrap_or_default();
                if operator == '#' {
                    pattern::trim_prefix(word, &value, greedy)
                } else {
                    pattern::trim_suffix(word, &value, greedy)
                }
            }
            other => Err(format!("unsupported modifier (:{other}) in substitution")),
        }
    }

    fn replaced(&mut self, name: &str, value: Option<String>) -> Result<String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.inner('/', true, "syntax error: missing '/' in ${}")?;
        let replacement = self.inner('}', true, NO_BRACE)?;
        match value {
            None if self.rules.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => {
                let found = pattern::replace(&pattern, &value.unwrap_or_default(), &replacement, all, self.left)?;
                found.ok_or_else(|| "the result is too long".into())
            }
        }
    }

    /// The word of a substitution, up to `stop`.
    fn inner(&mut self, stop: char, keep_escapes: bool, missing: &str) -> Result<String> {
        match self.until(Some(stop), keep_escapes) {
            Ok(output) => self.spend(output.text),
            Err(_) if self.chars.peek().is_none() => Err(missing.into()),
            Err(text) => Err(text),
        }
    }
}

const NO_BRACE: &str = "syntax error: missing '}'";
