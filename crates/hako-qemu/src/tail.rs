//! The last bytes of a stream: what a failed boot is explained with.

use std::{
    fs::File,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Kept in memory.
const KEEP: usize = 8 * 1024;
/// Written to the file, if there is one: a guest may not fill the host's disk.
const FILE_LIMIT: usize = 1024 * 1024;

/// The last bytes that a stream carried; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    /// Reads `from` to its end, keeping the tail here and the head in `file`.
    pub async fn drain(self, mut from: impl AsyncRead + Unpin, mut file: Option<File>) {
        let mut buffer = [0; 2048];
        let mut written = 0;
        loop {
            let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
            let Some(bytes) = buffer.get(..n) else { return };
            self.push(bytes);
            written += n;
            // A log that cannot be written is no reason to stop a guest.
            if written > FILE_LIMIT || file.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
                file = None;
            }
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let excess = kept.len().saturating_sub(KEEP);
        kept.drain(..excess);
    }

    /// The last `count` lines, without control characters: a guest wrote them.
    pub fn lines(&self, count: usize) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let clean: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        let lines: Vec<&str> = clean.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn keeps_the_last_lines_and_no_escapes() {
        let tail = Tail::default();
        for n in 0..2000 {
            tail.push(format!("line {n}\r\n").as_bytes());
        }
        tail.push(b"\x1b[31mred\n\n");
        assert_eq!(tail.lines(2), "line 1999\n[31mred");
    }
}
