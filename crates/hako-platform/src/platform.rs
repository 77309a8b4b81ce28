//! `os[/architecture[/variant]]`, with Docker's aliases.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part has other letters than platforms have.
    #[error("\"{0}\" is an invalid component of a platform specifier")]
    Component(String),
    /// Too many parts.
    #[error("\"{0}\": cannot parse platform specifier")]
    Parts(String),
}

impl From<PlatformError> for hako_model::Error {
    fn from(err: PlatformError) -> Self {
        Self::invalid(err.to_string())
    }
}

/// A platform, as indexes name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// As Go names it: `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `v8` and the like, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// What [`Platform::accepts`] answers where nothing serves better.
    pub const EXACT: u32 = 100;

    /// A platform with Go's names for what may be written otherwise.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        normalized(os, architecture, variant)
    }

    /// This host's.
    #[must_use]
    pub fn host() -> Self {
        normalized("linux", std::env::consts::ARCH, "")
    }

    /// Reads `--platform`; empty is the host's.
    ///
    /// # Errors
    /// What is no platform.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        if text.is_empty() {
            return Ok(Self::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let word = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !parts.iter().all(word) {
            return Err(PlatformError::Component(text.to_owned()));
        }
        let host = Self::host();
        Ok(match parts[..] {
            [one] if is_os(one) => normalized(one, &host.architecture, &host.variant),
            [one] => normalized("linux", one, ""),
            [os, arch] => normalized(os, arch, ""),
            [os, arch, variant] => normalized(os, arch, variant),
            _ => return Err(PlatformError::Parts(text.to_owned())),
        })
    }

    /// How well an entry of an index serves who asks for `self`: higher is
    /// better, `None` not at all. A lower variant of arm runs on a higher one.
    #[must_use]
    pub fn accepts(&self, offered: &Self) -> Option<u32> {
        let offered = normalized(&offered.os, &offered.architecture, &offered.variant);
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        if offered.variant == self.variant {
            return Some(Self::EXACT);
        }
        let rank = |v: &str| v.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        match (rank(&self.variant), rank(&offered.variant)) {
            (Some(want), Some(have)) if have <= want => Some(have),
            (Some(_), None) if offered.variant.is_empty() => Some(0),
            // amd64 without a variant is v1.
            (None, Some(1)) if self.variant.is_empty() => Some(1),
            _ => None,
        }
    }
}

fn is_os(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "linux" | "windows" | "darwin" | "freebsd" | "macos")
}

fn normalized(os: &str, architecture: &str, variant: &str) -> Platform {
    let os = os.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.to_ascii_lowercase().as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64".to_owned(), String::new()),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64".to_owned(), v.to_owned()),
        ("i386" | "i486" | "i686" | "x86", _) => ("386".to_owned(), String::new()),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64".to_owned(), "v8".to_owned()),
        ("armhf" | "arm", "") => ("arm".to_owned(), "v7".to_owned()),
        ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
        ("arm", v @ ("5" | "6" | "7" | "8")) => ("arm".to_owned(), format!("v{v}")),
        ("powerpc64" | "ppc64le", v) => ("ppc64le".to_owned(), v.to_owned()),
        (other, v) => (other.to_owned(), v.to_owned()),
    };
    Platform { os, architecture, variant }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("aarch64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("LINUX/AMD64/V3", "linux/amd64/v3"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in ["a/b/c/d", "linux/", "a b"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lower_arm_variants_serve() {
        let p = |t: &str| Platform::parse(t).unwrap();
        assert!(p("linux/arm/v7").accepts(&p("linux/arm/v6")) < p("linux/arm/v7").accepts(&p("linux/arm/v7")));
        assert!(p("linux/arm/v6").accepts(&p("linux/arm/v7")).is_none());
        assert!(p("linux/amd64").accepts(&p("linux/amd64/v3")).is_none());
        assert!(p("linux/amd64").accepts(&p("linux/386")).is_none());
    }
}
