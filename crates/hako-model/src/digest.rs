//! Content digests. A value of this type is safe as a file name: its hash is
//! 64 lower-case hexadecimal digits and nothing else.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// `sha256:<64 lower-case hexadecimal digits>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Text that is not a digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:hex` with the right number of digits.
    #[error("invalid digest {0:?}: sha256:<64 hexadecimal digits> expected")]
    Format(String),
    /// An algorithm other than sha256.
    #[error("unsupported digest algorithm in {0:?}: only sha256 is supported")]
    Algorithm(String),
}

const PREFIX: &str = "sha256:";

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Digest {
    /// The digest whose hash is these 32 bytes.
    #[must_use]
    pub fn from_sha256(hash: impl Into<[u8; 32]>) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hash.into())))
    }
    /// With its algorithm: `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The 64 digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
    /// The first 12 digits, as tables and progress lines show it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == 64 && is_hex(hex) => Ok(Self(text.to_owned())),
            None if text.starts_with("sha512:") || text.starts_with("sha384:") => {
                Err(DigestError::Algorithm(text.to_owned()))
            }
            _ => Err(DigestError::Format(text.chars().take(128).collect())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_of_the_right_length() {
        let good = format!("sha256:{}", "a".repeat(64));
        assert_eq!(good.parse::<Digest>().unwrap().hex(), "a".repeat(64));
        for bad in ["", "sha256:", "sha256:../../etc/passwd", &"a".repeat(64), &good.to_uppercase()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(matches!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm(_))));
    }
}
