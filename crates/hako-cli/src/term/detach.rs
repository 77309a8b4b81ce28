//! The keys that leave a container running: `ctrl-p,ctrl-q` unless told otherwise.
//!
//! The engine acts on them: it holds them back from the process and ends the
//! stream, and nothing tells the client that the process lives on. So the client
//! looks for the same sequence in what it sends.

use crate::error::{Error, Result};

/// A key sequence, and how much of it has been typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Reads Docker's form: single characters and `ctrl-X`, parted by commas.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let keys = text.split(',').map(parse_key).collect::<Option<Vec<u8>>>();
        let keys = keys.ok_or_else(|| Error::msg(format!("Invalid detach keys ({text}) provided")))?;
        Ok(Self { keys, matched: 0 })
    }

    /// Where the sequence ends in `typed`, if it does.
    pub(crate) fn end_in(&mut self, typed: &[u8]) -> Option<usize> {
        for (index, byte) in typed.iter().enumerate() {
            if self.keys.get(self.matched) != Some(byte) {
                self.matched = 0;
            }
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
            }
            if self.matched == self.keys.len() {
                self.matched = 0;
                return Some(index + 1);
            }
        }
        None
    }
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => Some(letter.to_ascii_uppercase() - b'@'),
        [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sequence() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(keys.end_in(b"ab\x10"), None);
        assert_eq!(keys.end_in(b"c"), None);
        assert_eq!(keys.end_in(b"\x10"), None);
        assert_eq!(keys.end_in(b"\x10\x11zz"), Some(2));
    }

    #[test]
    fn other_sequences() {
        assert!(DetachKeys::parse("ctrl-@,x").is_ok());
        assert!(DetachKeys::parse("ctrl-1").is_err());
        assert!(DetachKeys::parse("").is_err());
    }
}
