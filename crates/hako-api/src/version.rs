//! API versions: what a path's `/v1.NN` prefix means.

use hako_model::{Error, Result};
use std::{fmt, str::FromStr};

/// A version such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Before the dot.
    pub major: u16,
    /// Behind it.
    pub minor: u16,
}

/// The oldest version that is served.
pub const MIN: ApiVersion = ApiVersion::new(1, 40);
/// The newest version that is served, and the one without a prefix.
pub const MAX: ApiVersion = ApiVersion::new(1, 53);

impl ApiVersion {
    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Splits `/v1.41/containers/json` into its version and `/containers/json`.
    /// A path without a prefix has the newest version.
    ///
    /// # Errors
    /// Docker's words for a version that is too old or too new.
    pub fn from_path(path: &str) -> Result<(Self, &str)> {
        let Some((prefix, rest)) = split_prefix(path) else {
            return Ok((MAX, path));
        };
        let version: Self = prefix.parse()?;
        if version < MIN {
            return Err(Error::invalid(format!(
                "client version {version} is too old. Minimum supported API version is {MIN}, \
                 please upgrade your client to a newer version"
            )));
        }
        if version > MAX {
            return Err(Error::invalid(format!(
                "client version {version} is too new. Maximum supported API version is {MAX}"
            )));
        }
        Ok((version, rest))
    }
}

/// `("1.41", "/containers/json")`, where the first segment is `v`, digits and dots.
fn split_prefix(path: &str) -> Option<(&str, &str)> {
    let tail = path.strip_prefix("/v")?;
    let end = tail.find('/').unwrap_or(tail.len());
    let version = &tail[..end];
    let ok = version.contains('.') && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    ok.then(|| (version, &tail[end..]))
}

impl FromStr for ApiVersion {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("invalid API version {text:?}"));
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!(ApiVersion::from_path("/v1.41/_ping").unwrap(), (ApiVersion::new(1, 41), "/_ping"));
        assert_eq!(ApiVersion::from_path("/volumes").unwrap(), (MAX, "/volumes"));
        let old = ApiVersion::from_path("/v1.39/info").unwrap_err().message;
        assert!(old.starts_with("client version 1.39 is too old. Minimum supported API version is 1.40, "));
        let new = ApiVersion::from_path("/v1.99/info").unwrap_err().message;
        assert_eq!(new, "client version 1.99 is too new. Maximum supported API version is 1.53");
    }
}
