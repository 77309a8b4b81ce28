//! What a command can fail with, and the exit code that it makes of it.

use std::io;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The client refuses or cannot: the text says why.
    #[error("{0}")]
    Message(String),
    /// The engine answered with an error; Docker's words, so that scripts match them.
    #[error("Error response from daemon: {message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The engine's text.
        message: String,
    },
    /// No engine at the address.
    #[error("cannot connect to the Hako engine at {host}: {reason}")]
    Connect {
        /// The address as it was given.
        host: String,
        /// What the connection failed with, and what to do about it.
        reason: String,
    },
    /// The program ends with this code; what was to be said is said, or is `message`.
    #[error("{}", .message.as_deref().unwrap_or_default())]
    Exit {
        /// The exit code.
        code: i32,
        /// What stderr still gets.
        message: Option<String>,
    },
}

/// A result with [`Error`].
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// [`Error::Message`].
    pub(crate) fn msg(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
    /// Ends the program with `code` and says nothing more.
    pub(crate) fn exit(code: i32) -> Self {
        Self::Exit { code, message: None }
    }
    /// The same failure, ending the program with `code` unless it has one already.
    pub(crate) fn with_code(self, code: i32) -> Self {
        match self {
            Self::Exit { .. } => self,
            other => Self::Exit { code, message: Some(other.to_string()) },
        }
    }
    /// Whether the engine says that the thing does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
    /// The exit code: 1 unless the command chose another.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Exit { code, .. } => *code,
            _ => 1,
        }
    }
}

/// What the system says of `err`, without its number.
pub(crate) fn reason(err: &io::Error) -> String {
    let text = err.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl From<io::Error> for Error {
    fn from(err: io::Error) -> Self {
        // Go's CLI dies quietly by SIGPIPE; 141 is what a shell makes of that.
        if err.kind() == io::ErrorKind::BrokenPipe { Self::exit(141) } else { Self::Message(reason(&err)) }
    }
}

impl From<hyper::Error> for Error {
    fn from(err: hyper::Error) -> Self {
        let source = std::error::Error::source(&err).map(|s| format!(": {s}")).unwrap_or_default();
        Self::Message(format!("connection to the engine failed: {err}{source}"))
    }
}

impl From<serde_json::Error> for Error {
    fn from(err: serde_json::Error) -> Self {
        Self::Message(format!("the engine's answer is not understood: {err}"))
    }
}

impl From<hako_model::IsolationError> for Error {
    fn from(err: hako_model::IsolationError) -> Self {
        Self::Message(err.to_string())
    }
}

/// The exit code of a container that could not be started, by Docker's rules
/// on the engine's text: 127 not found, 126 not executable, 125 anything else.
pub(crate) fn start_failure_code(text: &str) -> i32 {
    let has = |needle: &str| text.contains(needle);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::start_failure_code;

    #[test]
    fn codes_follow_dockers_rules() {
        assert_eq!(start_failure_code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(start_failure_code("stat /x: no such file or directory"), 127);
        assert_eq!(start_failure_code("exec: \"/etc\": is a directory"), 126);
        assert_eq!(start_failure_code("exec: \"/a\": permission denied"), 126);
        assert_eq!(start_failure_code("anything"), 125);
    }
}
