//! The keys that leave a container running: `ctrl-p,ctrl-q` unless told otherwise.

use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};

/// A key sequence, and how much of it has been typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of typed input means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Bytes for the container.
    Forward(Bytes),
    /// The sequence is complete; the bytes before it still go to the container.
    Detach(Bytes),
}

impl DetachKeys {
    /// Reads Docker's form: single characters and `ctrl-X`, parted by commas.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let keys = text.split(',').map(parse_key).collect::<Option<Vec<u8>>>();
        let keys = keys.ok_or_else(|| Error::msg(format!("Invalid detach keys ({text}) provided")))?;
        Ok(Self { keys, matched: 0 })
    }

    /// Passes typed bytes on, keeping back those that may begin the sequence.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Scan {
        let mut out = BytesMut::with_capacity(input.len() + self.matched);
        for &byte in input {
            if byte != self.keys[self.matched] {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
            } else {
                out.extend_from_slice(&[byte]);
            }
            if self.matched == self.keys.len() {
                return Scan::Detach(out.freeze());
            }
        }
        Scan::Forward(out.freeze())
    }
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sequence() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(keys.scan(b"ab\x10"), Scan::Forward(Bytes::from_static(b"ab")));
        assert_eq!(keys.scan(b"c"), Scan::Forward(Bytes::from_static(b"\x10c")));
        assert_eq!(keys.scan(b"\x10"), Scan::Forward(Bytes::new()));
        assert_eq!(keys.scan(b"\x10\x11zz"), Scan::Detach(Bytes::from_static(b"\x10")));
    }

    #[test]
    fn other_sequences() {
        assert!(DetachKeys::parse("ctrl-@,x").is_ok());
        assert!(DetachKeys::parse("ctrl-1").is_err());
        assert!(DetachKeys::parse("").is_err());
    }
}
