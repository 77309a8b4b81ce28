//! The context: what the client sends, unpacked into a folder that goes with
//! the build. Names in it lead nowhere else.

use crate::http::Request;
use futures::StreamExt;
use hako_dockerfile::ignore::{Patterns, Verdict};
use hako_layers::files::{Extract, Root, unpack_archive};
use hako_model::{Error, ErrorKind, Result};
use hako_store::Store;
use http_body_util::BodyExt;
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A Dockerfile may have this many bytes.
const MAX_DOCKERFILE: u64 = 4 << 20;

/// A build's context.
pub struct Context {
    folder: TempDir,
    root: Root,
}

/// The folder in the temporary one, with a mode of its own.
const FOLDER: &str = "context";

impl Context {
    /// Unpacks a request's body.
    ///
    /// # Errors
    /// The archive's faults; the client went away in the middle.
    pub async fn receive(store: Store, req: Request) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(8);
        let mut pieces = req.body.into_data_stream();
        let unpacked = super::on_thread("context", move || unpack(&store, Body { receiver, piece: Vec::new(), at: 0 }));
        let send = async {
            while let Some(piece) = pieces.next().await {
                let failed = piece.is_err();
                // The other end may have refused the archive, and says so.
                if sender.send(piece.map(|bytes| bytes.to_vec()).map_err(io::Error::other)).await.is_err() || failed {
                    break;
                }
            }
            drop(sender);
        };
        let ((), context) = tokio::join!(send, unpacked);
        context
    }

    /// Its root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its folder, whose names are the client's.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(FOLDER)
    }

    /// The text of the Dockerfile.
    ///
    /// # Errors
    /// Docker's words where it is missing or empty.
    pub fn dockerfile(&self, name: &str) -> Result<String> {
        let found = match self.read(name) {
            Err(err) if err.kind == ErrorKind::NotFound && name == "Dockerfile" => self.read("dockerfile"),
            other => other,
        };
        let text = found.map_err(|err| match err.kind {
            ErrorKind::NotFound => Error::internal(format!("Cannot locate specified Dockerfile: {name}")),
            _ => err,
        })?;
        if text.is_empty() {
            return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
        }
        decode(text).map_err(|line| {
            Error::invalid(format!("the Dockerfile ({name}) is not UTF-8: line {line} has bytes that are no text"))
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.root.read(name.as_bytes())?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_DOCKERFILE {
            return Err(Error::invalid(format!("{name} has more than {MAX_DOCKERFILE} bytes")));
        }
        Ok(bytes)
    }

    /// Removes what `.dockerignore` excludes, once the Dockerfile was read.
    /// Clients leave such files out by themselves; those that they send all the
    /// same are the Dockerfile and this very file.
    ///
    /// # Errors
    /// A malformed pattern; the kernel's.
    pub fn apply_ignore(&self, dockerfile: &str) -> Result<()> {
        // A file of its own for one Dockerfile goes before the general one.
        for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
            match self.read(&name) {
                Ok(text) => {
                    let ignore = Patterns::parse(&text)?;
                    return remove_excluded(&ignore, &self.folder.path().join(FOLDER));
                }
                Err(err) if err.kind == ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// The text, or the number of the first line whose bytes are none and mean
/// something: comments may be in any encoding. (BuildKit refuses such a file
/// too; dockerd's own builder lets JSON spoil the bytes later.)
fn decode(bytes: Vec<u8>) -> std::result::Result<String, usize> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(err) => err.into_bytes(),
    };
    let mut is_plain = true;
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        // In a here-document a `#` is as good as anything.
        is_plain &= !line.windows(2).any(|pair| pair == b"<<");
        let is_comment = is_plain && line.trim_ascii_start().starts_with(b"#");
        if !is_comment && std::str::from_utf8(line).is_err() {
            return Err(n + 1);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes excluded files, and excluded directories in which nothing is left.
fn remove_excluded(ignore: &Patterns, top: &Path) -> Result<()> {
    let mut directories = vec![(top.to_owned(), Verdict::default())];
    let mut excluded = Vec::new();
    while let Some((directory, above)) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            // Links are files of their own here.
            let is_dir = entry.file_type()?.is_dir();
            let verdict = ignore.judge(above, &path.strip_prefix(top).unwrap_or(&path).to_string_lossy());
            match (is_dir, verdict.out) {
                (true, out) => {
                    directories.push((path.clone(), verdict));
                    if out {
                        excluded.push(path);
                    }
                }
                (false, true) => fs::remove_file(&path)?,
                (false, false) => {}
            }
        }
    }
    // The innermost first; one in which something is kept stays.
    for directory in excluded.iter().rev() {
        match fs::remove_dir(directory) {
            Err(err) if err.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn unpack(store: &Store, body: Body) -> Result<Context> {
    let folder = store.temp_dir()?;
    let path = folder.path().join(FOLDER);
    fs::DirBuilder::new().mode(0o755).create(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let root = Root::open(&path)?;
    // Whoever sends it, its files are root's: as Docker's classic builder has it.
    let how = Extract { owner: Some((0, 0)), ..Extract::default() };
    unpack_archive(body, &root, b"/", how, &mut |_| Ok(true))
        .map_err(|err| Error::new(err.kind, format!("Error processing tar file: {}", err.message)))?;
    Ok(Context { folder, root })
}

/// The request's body, for a thread that reads.
struct Body {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece?, 0),
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.piece.len() - self.at);
        buf[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn only_comments_may_be_no_text() {
        let of = |text: &[u8]| decode(text.to_vec());
        assert_eq!(of("FROM ä".as_bytes()).unwrap(), "FROM ä");
        assert_eq!(of(b"# M\xfcller\nFROM a\n  # \xff\n").unwrap(), "# M\u{fffd}ller\nFROM a\n  # \u{fffd}\n");
        assert_eq!(of(b"FROM a\nENV A=\xe4\n"), Err(2));
        assert_eq!(of(b"FROM a\nRUN <<E\n# \xe4\nE\n"), Err(3));
    }
}
