//! What can be wrong with a Dockerfile, in Docker's words.

/// Why a Dockerfile, a word of it or a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text cannot be parted into instructions and words.
    #[error("failed to parse Dockerfile: {0}")]
    Syntax(String),
    /// An instruction is wrong.
    #[error("dockerfile parse error on line {line}: {text}")]
    Instruction {
        /// The line on which it begins, from 1.
        line: usize,
        /// What is wrong.
        text: String,
    },
    /// A word cannot be expanded, a value has no meaning: the executor knows the line.
    #[error("{0}")]
    Value(String),
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// [`Error::Value`].
    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::Value(text.into())
    }

    /// What is wrong, without where.
    pub fn text(&self) -> &str {
        match self {
            Self::Syntax(text) | Self::Value(text) | Self::Instruction { text, .. } => text,
        }
    }

    /// The same as the fault of the instruction on `line`.
    pub(crate) fn on(self, line: usize) -> Self {
        match self {
            Self::Value(text) => Self::Instruction { line, text },
            other => other,
        }
    }
}

impl From<Error> for hako_model::Error {
    fn from(err: Error) -> Self {
        Self::invalid(err.to_string())
    }
}
