//! Container identifiers and names.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A container's identifier: 64 lower-case hexadecimal digits, as Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Text that is not a container identifier.
#[derive(Debug, thiserror::Error)]
#[error("invalid container id {0:?}: 64 hexadecimal digits expected")]
pub struct IdError(String);

impl ContainerId {
    /// A fresh random identifier. Never one whose first 12 digits are all
    /// decimal, so that the short form cannot be read as a number (Docker's rule).
    #[must_use]
    pub fn random() -> Self {
        loop {
            let id = hex::encode(rand::random::<[u8; 32]>());
            if !id[..12].bytes().all(|b| b.is_ascii_digit()) {
                return Self(id);
            }
        }
    }
    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first 12 digits, as tables show it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for ContainerId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let ok = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok { Ok(Self(text)) } else { Err(IdError(text)) }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not a container name.
#[derive(Debug, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct NameError(String);

/// Checks `name` (without its leading slash) by Docker's rule.
///
/// # Errors
/// [`NameError`] in Docker's words.
pub fn validate_name(name: &str) -> Result<(), NameError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.len() > 1 && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest { Ok(()) } else { Err(NameError(name.to_owned())) }
}
