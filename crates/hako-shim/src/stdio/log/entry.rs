//! Docker's `json-file` records, byte for byte as its copier and encoder write
//! them: one object for each line, lines longer than 16 KiB in pieces of which
//! only the last ends in a newline.

use chrono::{SecondsFormat, Utc};
use hako_task::stdio::StdStream;
use std::{borrow::Cow, collections::BTreeMap};

/// The longest piece of a line.
const MAX_PIECE: usize = 16 << 10;

/// Lines that have not ended: stdout's and stderr's.
#[derive(Debug, Default)]
pub(super) struct Lines([Vec<u8>; 2]);

impl Lines {
    /// Cuts the next line, or piece of one, from the beginning of `data` and
    /// what was left before. What has not ended is kept.
    pub(super) fn next<'d>(&mut self, stream: StdStream, data: &mut &'d [u8]) -> Option<Cow<'d, [u8]>> {
        let pending = &mut self.0[index(stream)];
        if data.is_empty() {
            return None;
        }
        let room = MAX_PIECE - pending.len();
        let window = &data[..room.min(data.len())];
        let newline = window.iter().position(|byte| *byte == b'\n');
        let end = match newline {
            Some(at) => at + 1,
            None if window.len() == room => room,
            None => {
                pending.extend_from_slice(window);
                *data = &[];
                return None;
            }
        };
        let (piece, rest) = data.split_at(end);
        *data = rest;
        if pending.is_empty() {
            return Some(Cow::Borrowed(piece));
        }
        // A container that writes nothing more keeps no buffer.
        let mut whole = std::mem::take(pending);
        whole.extend_from_slice(piece);
        Some(Cow::Owned(whole))
    }

    /// What is left of the last line.
    pub(super) fn rest(&mut self, stream: StdStream) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.0[index(stream)]);
        (!rest.is_empty()).then_some(rest)
    }
}

pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn index(stream: StdStream) -> usize {
    usize::from(stream == StdStream::Stderr)
}

/// The part of every record that says its attributes; empty without any.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    let quoted = |out: &mut Vec<u8>, text: &str| {
        out.push(b'"');
        escape(out, text.as_bytes());
        out.push(b'"');
    };
    let mut out = b",\"attrs\":{".to_vec();
    for (at, (key, value)) in attributes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        quoted(&mut out, key);
        out.push(b':');
        quoted(&mut out, value);
    }
    out.push(b'}');
    String::from_utf8_lossy(&out).into_owned()
}

/// Adds a record to `out`.
pub(super) fn encode(out: &mut Vec<u8>, line: &[u8], stream: StdStream, attributes: &str, time: &str) {
    out.reserve(line.len() + 80);
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(out, chunk.valid().as_bytes());
        // Go's decoder takes invalid bytes one by one.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(if stream == StdStream::Stderr { b"stderr" } else { b"stdout" });
    out.push(b'"');
    out.extend_from_slice(attributes.as_bytes());
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Escapes as Go's encoder does, which also writes `<`, `>`, `&` and the two
/// line separators of Unicode by number.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        let separator = byte == 0xe2 && matches!(text.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
        if !separator && (byte >= 0x20 && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'&')) {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[start..at]);
        if separator {
            out.extend_from_slice(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            at += 3;
        } else {
            match byte {
                b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                _ => {
                    let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&digits);
                }
            }
            at += 1;
        }
        start = at;
    }
    out.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            let mut data = *chunk;
            while let Some(line) = lines.next(StdStream::Stdout, &mut data) {
                found.push(line.into_owned());
            }
        }
        (found, lines.rest(StdStream::Stdout).unwrap_or_default())
    }

    #[test]
    fn lines_are_joined_over_reads() {
        let (found, rest) = entries(&[b"a\nb", b"c\n\nd"]);
        assert_eq!(found, [b"a\n".to_vec(), b"bc\n".to_vec(), b"\n".to_vec()]);
        assert_eq!(rest, b"d");
    }

    #[test]
    fn long_lines_come_in_pieces_of_16_kib_however_they_are_read() {
        let mut line = vec![b'x'; MAX_PIECE + 5];
        line.push(b'\n');
        for size in [1, 7, 4096, MAX_PIECE, line.len()] {
            let (found, rest) = entries(&line.chunks(size).collect::<Vec<_>>());
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PIECE, 6], "reads of {size}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_full_piece_and_its_newline_are_two_entries() {
        let mut line = vec![b'x'; MAX_PIECE];
        line.push(b'\n');
        let (found, _) = entries(&[&line]);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PIECE, 1]);
    }

    #[test]
    fn entries_are_dockers() {
        let mut out = Vec::new();
        encode(&mut out, b"\"\\<\t\xff\xe2\x80\xa8\xc3\xa9\r\n", StdStream::Stderr, "", "T");
        let want = "{\"log\":\"\\\"\\\\\\u003c\\u0009\\ufffd\\u2028é\\r\\n\",\"stream\":\"stderr\",\"time\":\"T\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn attributes_are_in_every_record() {
        let list = BTreeMap::from([("tag".to_owned(), "a\"b".to_owned()), ("com.x".to_owned(), "1".to_owned())]);
        let mut out = Vec::new();
        encode(&mut out, b"x\n", StdStream::Stdout, &attributes(&list), "T");
        let want = r#"{"log":"x\n","stream":"stdout","attrs":{"com.x":"1","tag":"a\"b"},"time":"T"}"#;
        assert_eq!(String::from_utf8(out).unwrap().trim_end(), want);
    }
}
