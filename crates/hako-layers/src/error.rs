//! What can be wrong with a layer, and with the work on it.

use hako_model::ErrorKind;
use std::io;

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a layer was refused, or why the host could not do the work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive breaks the format.
    #[error("malformed archive: {0}")]
    Malformed(String),
    /// The archive ends too early.
    #[error("archive is truncated")]
    Truncated,
    /// The archive wants something outside of its layer.
    #[error("hostile layer: {0}")]
    Hostile(String),
    /// The archive exceeds a limit.
    #[error("layer exceeds a limit: {0}")]
    Limit(String),
    /// An archive of another kind.
    #[error("unsupported archive: {0}")]
    Unsupported(String),
    /// Reading the archive failed.
    #[error("read archive: {0}")]
    Read(#[source] io::Error),
    /// The host could not make an entry.
    #[error("{path:?} in the layer: {source}")]
    Entry {
        /// The entry's name.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The host could not do a step.
    #[error("{what}: {source}")]
    Host {
        /// The step.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program of the host is absent.
    #[error("{program} not found: install the package {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// A program of the host failed.
    #[error("{program} failed: {message}")]
    Program {
        /// The program.
        program: &'static str,
        /// The end of what it said.
        message: String,
    },
}

impl Error {
    pub(crate) fn host<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |err| Self::Host { what: what.into(), source: err.into() }
    }

    pub(crate) fn entry<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> Self + '_ {
        move |err| Self::Entry { path: show(path), source: err.into() }
    }

    /// The kind, for the protocols' tables.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_) | Self::Truncated | Self::Hostile(_) | Self::Limit(_) => ErrorKind::InvalidParameter,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Read(_) | Self::Entry { .. } | Self::Host { .. } | Self::Program { .. } => ErrorKind::Internal,
            Self::NoProgram { .. } => ErrorKind::Unavailable,
        }
    }
}

impl From<Error> for hako_model::Error {
    fn from(err: Error) -> Self {
        Self::new(err.kind(), err.to_string())
    }
}

/// A reader's error: an early end and corrupt compression are the archive's fault.
impl From<io::Error> for Error {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Self::Malformed(err.to_string()),
            _ => Self::Read(err),
        }
    }
}

/// A name for an error's text.
pub(crate) fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.chars().count() > 256 { text.chars().take(256).chain("…".chars()).collect() } else { text.into_owned() }
}
