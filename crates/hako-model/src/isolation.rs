//! Which wall stands between a container and the host.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The wall of one container: the effective value, never `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces and cgroups on the host's kernel.
    Process,
    /// A virtual machine with a kernel of its own.
    Hyperv,
}

/// A value of `--isolation` that Docker's words do not have.
#[derive(Debug, thiserror::Error)]
#[error("invalid isolation {0:?}: use default, process or hyperv (alias vm)")]
pub struct IsolationError(String);

impl Isolation {
    /// Reads `--isolation` or `HostConfig.Isolation`: `None` for the empty text
    /// and for `default`, which leave the choice to the engine.
    ///
    /// # Errors
    /// [`IsolationError`] for any other word. Case is ignored, as Docker does.
    pub fn from_request(text: &str) -> Result<Option<Self>, IsolationError> {
        match text.to_ascii_lowercase().as_str() {
            "" | "default" => Ok(None),
            other => other.parse().map(Some),
        }
    }
    /// The word that the API carries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Hyperv => "hyperv",
        }
    }
}

impl FromStr for Isolation {
    type Err = IsolationError;
    fn from_str(text: &str) -> Result<Self, IsolationError> {
        match text.to_ascii_lowercase().as_str() {
            "process" => Ok(Self::Process),
            "hyperv" | "vm" => Ok(Self::Hyperv),
            _ => Err(IsolationError(text.to_owned())),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
