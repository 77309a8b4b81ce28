//! Docker's `json-file` log, byte for byte as its copier and encoder write it:
//! one object for each line, lines longer than 16 KiB in pieces of which only
//! the last ends in a newline.

use chrono::{SecondsFormat, Utc};
use hako_task::stdio::StdStream;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The longest piece of a line.
const MAX_PIECE: usize = 16 << 10;
/// What the encoder's buffer keeps between writes.
const KEEP: usize = 64 << 10;

/// The log of one container.
#[derive(Debug)]
pub(crate) struct JsonLog {
    file: File,
    encoded: Vec<u8>,
    /// Lines that have not ended: stdout's and stderr's.
    pending: [Vec<u8>; 2],
}

impl JsonLog {
    /// Opens the log to append to it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self { file, encoded: Vec::new(), pending: [Vec::new(), Vec::new()] })
    }

    /// Writes what has come from `stream`, all lines in one write.
    pub(crate) fn write(&mut self, stream: StdStream, data: &[u8]) -> io::Result<()> {
        let time = now();
        let pending = &mut self.pending[index(stream)];
        split(pending, data, |line| encode(&mut self.encoded, line, stream, &time));
        self.flush()
    }

    /// The stream has ended: what is left of its last line is an entry without a newline.
    pub(crate) fn end(&mut self, stream: StdStream) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending[index(stream)]);
        if !rest.is_empty() {
            encode(&mut self.encoded, &rest, stream, &now());
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.encoded);
        self.encoded.clear();
        self.encoded.shrink_to(KEEP);
        written
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn index(stream: StdStream) -> usize {
    usize::from(stream == StdStream::Stderr)
}

/// Cuts `pending` + `data` into lines and pieces; what has not ended stays in `pending`.
fn split(pending: &mut Vec<u8>, mut data: &[u8], mut entry: impl FnMut(&[u8])) {
    while !data.is_empty() {
        let room = MAX_PIECE - pending.len();
        let window = &data[..room.min(data.len())];
        let newline = window.iter().position(|byte| *byte == b'\n');
        let end = match newline {
            Some(at) => at + 1,
            None if window.len() == room => room,
            None => {
                pending.extend_from_slice(window);
                return;
            }
        };
        if pending.is_empty() {
            entry(&data[..end]);
        } else {
            pending.extend_from_slice(&data[..end]);
            entry(pending);
            // A container that writes nothing more keeps no buffer.
            *pending = Vec::new();
        }
        data = &data[end..];
    }
}

fn encode(out: &mut Vec<u8>, line: &[u8], stream: StdStream, time: &str) {
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
    out.extend_from_slice(b"\",\"time\":\"");
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
        let (mut pending, mut found) = (Vec::new(), Vec::new());
        for chunk in chunks {
            split(&mut pending, chunk, |line| found.push(line.to_vec()));
        }
        (found, pending)
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
        encode(&mut out, b"\"\\<\t\xff\xe2\x80\xa8\xc3\xa9\r\n", StdStream::Stderr, "T");
        let want = "{\"log\":\"\\\"\\\\\\u003c\\u0009\\ufffd\\u2028é\\r\\n\",\"stream\":\"stderr\",\"time\":\"T\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
