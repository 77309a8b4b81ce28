//! What can go wrong. The text of an error is the last line of stderr, and the
//! shim hands it on unchanged, so it is whole: no cause is left for a chain.

use nix::errno::Errno;
use std::fmt::Display;

/// An error of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is complete by itself.
    #[error("{0}")]
    Message(String),
    /// A call to the system failed while doing `what`.
    #[error("{what}: {}", reason(.source))]
    System {
        /// What was done, naming the path or id.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A complete text.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
    /// `what: cause`, for errors of libraries.
    pub fn because(what: impl Display, cause: impl Display) -> Self {
        Self::Message(format!("{what}: {cause}"))
    }
}

/// Says what was done when a system call fails.
pub trait Context<T> {
    /// Wraps the error with a text made only then.
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|source| Error::System { what: what().to_string(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::System { what: what().to_string(), source: errno.into() })
    }
}

impl<T> Context<T> for serde_json::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|err| Error::because(what(), err))
    }
}

fn reason(err: &std::io::Error) -> String {
    match err.raw_os_error() {
        Some(raw) => errno_text(Errno::from_raw(raw)),
        None => err.to_string(),
    }
}

/// The C library's words in Go's case: `no such file or directory`.
pub fn errno_text(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    match chars.next() {
        // `I/O error` and the like stay as they are.
        Some(first) if text.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_writes_them() {
        assert_eq!(errno_text(Errno::ENOENT), "no such file or directory");
        assert_eq!(errno_text(Errno::EIO), "I/O error");
        let err: Result<()> = Err(Errno::EACCES).context(|| "mkdir /x");
        assert_eq!(err.unwrap_err().to_string(), "mkdir /x: permission denied");
    }
}
