//! Versions of Windows and of Linux kernels, compared as numbers: 999 is older
//! than 3091, which no comparison of text knows.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version")]
pub struct VersionError(String);

/// `major.minor.build[.revision]` of Windows, as `os.version` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OsVersion {
    /// 10.
    pub major: u32,
    /// 0.
    pub minor: u32,
    /// Names the release: 17763.
    pub build: u32,
    /// The update, if it was said. None is before every one.
    pub revision: Option<u32>,
}

impl OsVersion {
    /// Windows 10.0 of this build.
    #[must_use]
    pub fn of_build(build: u32) -> Self {
        Self { major: 10, minor: 0, build, revision: None }
    }
    /// The same without its revision, as Docker's texts have it.
    #[must_use]
    pub fn release(self) -> Self {
        Self { revision: None, ..self }
    }
    /// Whether the numbers before the build are the same.
    #[must_use]
    pub fn same_line(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl FromStr for OsVersion {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>().ok_or_else(error)?;
        match numbers[..] {
            [major, minor, build] => Ok(Self { major, minor, build, revision: None }),
            [major, minor, build, revision] => Ok(Self { major, minor, build, revision: Some(revision) }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for OsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)?;
        self.revision.map_or(Ok(()), |revision| write!(f, ".{revision}"))
    }
}

/// A kernel's release by its first three numbers: `6.12.4-amd64` is 6.12.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion(pub u32, pub u32, pub u32);

impl FromStr for KernelVersion {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut parts = text[..end].trim_end_matches('.').split('.');
        let mut next = || parts.next().map(|part| number(part).ok_or_else(error)).transpose();
        let (major, minor, patch) = (next()?, next()?, next()?);
        match (major, minor) {
            (Some(major), Some(minor)) => Ok(Self(major, minor, patch.unwrap_or(0))),
            // Somebody asks for "6": any of them.
            (Some(major), None) if end == text.len() => Ok(Self(major, 0, 0)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)?;
        if self.2 == 0 { Ok(()) } else { write!(f, ".{}", self.2) }
    }
}

/// Digits alone: Rust's own reading takes a sign as well.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Text for serde, in both directions.
macro_rules! as_text {
    ($($name:ty),*) => { $(
        impl TryFrom<String> for $name {
            type Error = VersionError;
            fn try_from(text: String) -> Result<Self, VersionError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(version: $name) -> Self {
                version.to_string()
            }
        }
    )* };
}
as_text!(OsVersion, KernelVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_not_text() {
        let v = |text: &str| text.parse::<OsVersion>().unwrap();
        assert!(v("10.0.20348.999") < v("10.0.20348.3091"));
        assert!(v("10.0.9200") < v("10.0.17763.1"));
        assert!(v("10.0.17763") < v("10.0.17763.0"));
        assert_eq!(v("10.0.17763.1098").to_string(), "10.0.17763.1098");
        for bad in ["", "10", "10.0", "10.0.x", "10.0.1.2.3", "10.0.+1", "10.0.99999999999", "10..1"] {
            assert!(bad.parse::<OsVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn kernels() {
        let v = |text: &str| text.parse::<KernelVersion>().unwrap();
        assert_eq!(v("6.18.44-fc-v669"), KernelVersion(6, 18, 44));
        assert_eq!(v("6.1-rc3"), KernelVersion(6, 1, 0));
        assert_eq!(v("6"), KernelVersion(6, 0, 0));
        assert!(v("5.10") > v("5.9.1"));
        for bad in ["", "x", "6x", "-1.2", ".5", "6..1"] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad}");
        }
    }
}
