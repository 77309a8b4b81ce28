//! Where the context comes from: a folder, or stdin with a Dockerfile or an archive.

use super::pack::{self, Entry, Extra};
use crate::api::Body;
use crate::error::{Error, Result, reason};
use hako_dockerfile::ignore::{self, Patterns};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What an archive begins with, if stdin is one.
const HEAD: usize = 512;

/// A context that is ready to be sent.
pub(super) struct Context {
    /// The Dockerfile's name in it.
    pub dockerfile: String,
    /// About how many bytes it has, if that is known.
    pub size: Option<i64>,
    source: Source,
}

enum Source {
    Folder { folder: PathBuf, entries: Vec<Entry>, extra: Vec<Extra> },
    Stream(Box<dyn Read + Send>),
}

/// Why the context could not be read to its end.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
    pub(super) fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unable(text: impl std::fmt::Display) -> Error {
    Error::msg(format!("unable to prepare context: {text}"))
}

impl Context {
    /// # Errors
    /// A folder or Dockerfile that cannot be read.
    pub(super) fn prepare(path: &str, file: Option<&str>) -> Result<Self> {
        if path == "-" {
            return match file {
                Some("-") => Err(Error::msg("invalid argument: can't use stdin for both build context and dockerfile")),
                file => Self::of_stdin(file, Box::new(io::stdin())),
            };
        }
        let url = ["http://", "https://", "git://", "git@", "github.com/"];
        if url.iter().any(|head| path.starts_with(head)) && !Path::new(path).exists() {
            return Err(Error::msg(format!("not supported: a build context by URL ({path}): fetch it first")));
        }
        let mut text = Vec::new();
        if file == Some("-") {
            io::stdin().read_to_end(&mut text)?;
            return Self::of_folder(path, Dockerfile::Given(text));
        }
        Self::of_folder(path, file.map_or(Dockerfile::Usual, |file| Dockerfile::Named(file.to_owned())))
    }

    /// An archive as it is, or else a Dockerfile without any other file.
    fn of_stdin(file: Option<&str>, mut stdin: Box<dyn Read + Send>) -> Result<Self> {
        let mut head = Vec::new();
        stdin.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        if is_archive(&head) {
            let dockerfile = file.unwrap_or("Dockerfile").to_owned();
            let source = Source::Stream(Box::new(io::Cursor::new(head).chain(stdin)));
            return Ok(Self { dockerfile, size: None, source });
        }
        if file.is_some() {
            return Err(Error::msg("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"));
        }
        stdin.read_to_end(&mut head)?;
        let extra = vec![Extra { name: "Dockerfile".into(), content: head }];
        Ok(Self::packed("Dockerfile".into(), PathBuf::from("/"), Vec::new(), extra))
    }

    fn packed(dockerfile: String, folder: PathBuf, entries: Vec<Entry>, extra: Vec<Extra>) -> Self {
        let size = pack::size(&entries, &extra);
        Self { dockerfile, size: Some(size), source: Source::Folder { folder, entries, extra } }
    }

    fn of_folder(path: &str, dockerfile: Dockerfile) -> Result<Self> {
        let folder = fs::canonicalize(path).map_err(|_| unable(format_args!("path {path:?} not found")))?;
        if !folder.is_dir() {
            return Err(unable(format_args!("context must be a directory: {path}")));
        }
        let (name, mut extra) = dockerfile.find(&folder)?;
        // A file of its own for one Dockerfile goes before the general one.
        let ignores = [format!("{name}.dockerignore"), ".dockerignore".to_owned()];
        let mut patterns = Vec::new();
        for ignore in ignores {
            match fs::read(folder.join(&ignore)) {
                Ok(text) => {
                    patterns = ignore::lines(&text);
                    break;
                }
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(unable(format_args!("open {ignore}: {}", reason(&err)))),
            }
        }
        let wrong = |err: hako_dockerfile::Error| Error::msg(format!("error checking context: {err}"));
        let mut left_out = Patterns::new(&patterns).map_err(wrong)?;
        // The engine needs both, and leaves them out itself.
        for kept in [".dockerignore", &name] {
            if left_out.matches(kept) {
                left_out.push(&format!("!{}", escaped(kept))).map_err(wrong)?;
            }
        }
        if !extra.is_empty() {
            extra.push(hidden(&folder, &name));
        }
        let entries = pack::walk(&folder, &left_out)?;
        Ok(Self::packed(name, folder, entries, extra))
    }

    /// The request's body, and why it may end too early.
    pub(super) fn send(self) -> (Body, Failure) {
        let failure = Failure::default();
        let body = match self.source {
            Source::Folder { folder, entries, extra } => pack::send(folder, entries, extra, failure.clone()),
            Source::Stream(stream) => super::super::load::send(stream, None),
        };
        (body, failure)
    }
}

/// A name as a pattern that matches it alone.
fn escaped(name: &str) -> String {
    let special = |char: char| matches!(char, '*' | '?' | '[' | ']' | '\\');
    name.chars().flat_map(|char| special(char).then_some('\\').into_iter().chain([char])).collect()
}

/// The `.dockerignore` of a context to which a Dockerfile of that name is added,
/// which is none of its files.
fn hidden(folder: &Path, name: &str) -> Extra {
    let mut content = fs::read(folder.join(".dockerignore")).unwrap_or_else(|_| b".dockerignore".to_vec());
    content.extend_from_slice(format!("\n{name}\n").as_bytes());
    Extra { name: ".dockerignore".into(), content }
}

/// Where the Dockerfile is.
enum Dockerfile {
    Usual,
    Named(String),
    /// From stdin.
    Given(Vec<u8>),
}

impl Dockerfile {
    /// Its name in the context, and its content if it is none of the folder's files.
    fn find(self, folder: &Path) -> Result<(String, Vec<Extra>)> {
        let path = match self {
            Self::Given(content) => {
                let name = random_name();
                return Ok((name.clone(), vec![Extra { name, content }]));
            }
            Self::Usual => {
                let usual = folder.join("Dockerfile");
                if fs::symlink_metadata(&usual).is_err() && folder.join("dockerfile").exists() {
                    return Ok(("dockerfile".into(), Vec::new()));
                }
                usual
            }
            Self::Named(file) => PathBuf::from(file),
        };
        let unread = |err: io::Error| {
            unable(format_args!("unable to evaluate symlinks in Dockerfile path: {}: {}", path.display(), reason(&err)))
        };
        let absolute = std::path::absolute(&path).map_err(unread)?;
        let real = fs::canonicalize(&absolute).map_err(unread)?;
        // By its own name where that is in the folder, also if it is a link there.
        let parent = absolute.parent().and_then(|parent| fs::canonicalize(parent).ok());
        let named = parent.zip(absolute.file_name()).map(|(parent, name)| parent.join(name));
        for candidate in named.iter().chain([&real]) {
            if let Ok(name) = candidate.strip_prefix(folder) {
                return Ok((name.to_string_lossy().into_owned(), Vec::new()));
            }
        }
        let content = fs::read(&real).map_err(unread)?;
        let name = random_name();
        Ok((name.clone(), vec![Extra { name, content }]))
    }
}

/// A name that no file of a context has.
fn random_name() -> String {
    let mut bytes = [0; 10];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if random.is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    }
    bytes.iter().fold(".dockerfile.".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Whether `head` begins an archive: tar, or one that is compressed.
fn is_archive(head: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"];
    if magic.iter().any(|magic| head.starts_with(magic)) {
        return true;
    }
    let Ok(block) = <[u8; HEAD]>::try_from(head) else { return false };
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block);
    // The sum is that of the header with blanks in the sum's own place.
    header.cksum().is_ok_and(|told| told == sum(&block[..148]) + 8 * 32 + sum(&block[156..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_by_their_first_bytes() {
        let mut header = tar::Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_size(3);
        header.set_cksum();
        assert!(is_archive(header.as_bytes()));
        assert!(is_archive(b"\x1f\x8b\x08\x00"));
        assert!(!is_archive(b"FROM scratch\n") && !is_archive(&[0x20; 512]) && !is_archive(b""));
    }

    #[test]
    fn names_as_patterns() {
        let name = r"a[b]*\?";
        let patterns = Patterns::new(&["*".to_owned(), format!("!{}", escaped(name))]).unwrap();
        assert!(!patterns.matches(name) && patterns.matches("ab"));
    }
}
