//! The flags of an instruction: `--name`, `--name=value`, before its arguments.

use crate::{Error, Result, suggest};

/// Takes the flags off the beginning of `text`: quotes and escapes in them are
/// taken away, and `--` ends them. Gives the flags and the rest.
pub(crate) fn take(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = word(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest.trim())
}

fn word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            _ if char == escape => word.extend(chars.next().map(|(_, char)| char)),
            _ if quote == Some(char) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(char),
            _ if quote.is_none() && char.is_whitespace() => return (word, &text[at..]),
            _ => word.push(char),
        }
    }
    (word, "")
}

/// An instruction's flags, of which each is asked for by name.
#[derive(Debug)]
pub(crate) struct Flags {
    given: Vec<(String, Option<String>)>,
}

impl Flags {
    /// # Errors
    /// A flag that is not of these, or twice without being `many`.
    pub(crate) fn new(flags: Vec<String>, known: &[&str], many: &[&str]) -> Result<Self> {
        let mut given: Vec<(String, Option<String>)> = Vec::new();
        for flag in flags {
            let flag = flag.strip_prefix("--").unwrap_or(&flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if !known.contains(&name) && !many.contains(&name) {
                return Err(Error::value(format!(
                    "unknown flag: {name}{}",
                    suggest::hint(name, known.iter().chain(many).copied())
                )));
            }
            if !many.contains(&name) && given.iter().any(|(other, _)| other == name) {
                return Err(Error::value(format!("duplicate flag specified: {name}")));
            }
            given.push((name.to_owned(), value));
        }
        Ok(Self { given })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// All values of `name`.
    ///
    /// # Errors
    /// One that has none.
    pub(crate) fn all(&self, name: &str) -> Result<Vec<String>> {
        let of = self.given.iter().filter(|(other, _)| other == name);
        of.map(|(_, value)| value.clone().ok_or_else(|| missing(name))).collect()
    }

    /// The value of `name`; an empty one is as none.
    ///
    /// # Errors
    /// No value.
    pub(crate) fn one(&self, name: &str) -> Result<Option<String>> {
        Ok(self.all(name)?.pop().filter(|value| !value.is_empty()))
    }

    /// Whether `name` is given, and what it says.
    ///
    /// # Errors
    /// Neither `true` nor `false`.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>> {
        let Some((_, value)) = self.given.iter().find(|(other, _)| other == name) else { return Ok(None) };
        let Some(value) = value else { return Ok(Some(true)) };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            "" => Err(missing(name)),
            _ => Err(Error::value(format!("expecting boolean value for flag {name}, not: {value}"))),
        }
    }
}

fn missing(name: &str) -> Error {
    Error::value(format!("missing a value on flag: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_before_the_arguments() {
        for (text, flags, rest) in [
            ("a b", vec![], "a b"),
            ("--x --y=z  a --b", vec!["--x", "--y=z"], "a --b"),
            ("--x='a b',\"c\\\"d\" e", vec!["--x=a b,c\"d"], "e"),
            ("--x -- --y a", vec!["--x"], "--y a"),
            ("--x", vec!["--x"], ""),
            (r"--x=a\ b", vec!["--x=a b"], ""),
        ] {
            assert_eq!(take(text, '\\'), (flags.into_iter().map(str::to_owned).collect(), rest), "{text}");
        }
    }

    #[test]
    fn what_they_say() {
        let of =
            |flags: &[&str]| Flags::new(flags.iter().map(|flag| (*flag).to_owned()).collect(), &["a", "b"], &["m"]);
        let flags = of(&["--a=1", "--b", "--m=x", "--m=y"]).unwrap();
        assert_eq!(flags.one("a").unwrap().as_deref(), Some("1"));
        assert_eq!(flags.switch("b").unwrap(), Some(true));
        assert_eq!(flags.all("m").unwrap(), ["x", "y"]);
        assert_eq!(of(&["--c"]).unwrap_err().text(), "unknown flag: c (did you mean a?)");
        assert_eq!(of(&["--a=1", "--a=2"]).unwrap_err().text(), "duplicate flag specified: a");
        assert_eq!(flags.one("b").unwrap_err().text(), "missing a value on flag: b");
        assert_eq!(
            of(&["--b=maybe"]).unwrap().switch("b").unwrap_err().text(),
            "expecting boolean value for flag b, not: maybe"
        );
    }
}
