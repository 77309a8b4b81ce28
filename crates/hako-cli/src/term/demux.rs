//! Docker's framing of stdout and stderr on one connection: an eight-byte head
//! (stream, three zeros, length in network order), then the bytes.

use super::Target;
use bytes::{Buf, Bytes};

/// Takes a stream apart, whatever the cuts between its reads are.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    head: [u8; 8],
    have: usize,
    left: usize,
}

/// A byte that begins no frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine's stream is damaged: frame type {0}")]
pub(crate) struct BadFrame(u8);

impl Demux {
    /// Gives `out` the pieces of `data` with the stream that each belongs to.
    pub(crate) fn feed(&mut self, mut data: Bytes, mut out: impl FnMut(Target, Bytes)) -> Result<(), BadFrame> {
        while !data.is_empty() {
            if self.left == 0 {
                self.read_head(&mut data);
                if self.have < self.head.len() {
                    return Ok(());
                }
                self.have = 0;
                let [.., a, b, c, d] = self.head;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                target(self.head[0])?;
                continue;
            }
            let piece = data.split_to(self.left.min(data.len()));
            self.left -= piece.len();
            out(target(self.head[0])?, piece);
        }
        Ok(())
    }

    fn read_head(&mut self, data: &mut Bytes) {
        let take = (self.head.len() - self.have).min(data.len());
        data.copy_to_slice(&mut self.head[self.have..self.have + take]);
        self.have += take;
    }
}

fn target(stream: u8) -> Result<Target, BadFrame> {
    match stream {
        0 | 1 => Ok(Target::Stdout),
        // 3 is the engine's own error about the stream.
        2 | 3 => Ok(Target::Stderr),
        other => Err(BadFrame(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        frame.extend(body);
        frame
    }

    #[test]
    fn every_cut_gives_the_same_bytes() {
        let mut wire = frame(1, b"hello ");
        wire.extend(frame(2, b"oops"));
        wire.extend(frame(1, b""));
        wire.extend(frame(1, b"world"));
        for cut in 1..wire.len() {
            let (mut demux, mut out, mut err) = (Demux::default(), Vec::new(), Vec::new());
            for chunk in wire.chunks(cut) {
                let fed = demux.feed(Bytes::copy_from_slice(chunk), |target, piece| match target {
                    Target::Stdout => out.extend(piece),
                    Target::Stderr => err.extend(piece),
                });
                assert_eq!(fed, Ok(()));
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"hello world"[..], &b"oops"[..]));
        }
    }

    #[test]
    fn a_damaged_stream_is_an_error() {
        let fed = Demux::default().feed(Bytes::from_static(b"plain text, no frame"), |_, _| {});
        assert_eq!(fed, Err(BadFrame(b'p')));
    }
}
