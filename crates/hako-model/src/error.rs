//! One error kind for the whole engine. Three tables map it: to an HTTP status
//! (hako-api), to a ttrpc code (hako-task) and to an exit code (the CLI).

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of failure an error is, independent of where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request itself is wrong (HTTP 400).
    InvalidParameter,
    /// Credentials are missing or wrong (HTTP 401).
    Unauthorized,
    /// The request is understood and refused by policy (HTTP 403).
    Forbidden,
    /// The named object does not exist (HTTP 404).
    NotFound,
    /// The object is in a state that forbids the request, or the name is taken (HTTP 409).
    Conflict,
    /// The object already is as asked (HTTP 304).
    NotModified,
    /// Hako does not build this, and says so (HTTP 501).
    Unsupported,
    /// Something needed is absent for now (HTTP 503).
    Unavailable,
    /// A deadline ran out (HTTP 504).
    DeadlineExceeded,
    /// A fault of the engine or the host (HTTP 500).
    Internal,
}

/// An error with its kind and a text that names the thing it is about.
#[derive(Debug, Clone)]
pub struct Error {
    /// The kind, which decides how each protocol carries the error.
    pub kind: ErrorKind,
    /// The text for the user, in Docker's words where clients parse them.
    pub message: String,
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// [`ErrorKind::InvalidParameter`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, message)
    }
    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }
    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }
    /// [`ErrorKind::Unsupported`]: `what` names the thing that is not supported.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("not supported: {what}"))
    }
    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
    /// The same error with `context: ` put before its text.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(err: std::io::Error) -> Self {
        Self::internal(err.to_string())
    }
}
