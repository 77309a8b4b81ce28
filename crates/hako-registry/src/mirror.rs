//! The address of a mirror, by dockerd's rules.

use crate::Error;
use reqwest::Url;
use std::{fmt, str::FromStr};

/// A registry that has what another one has: `https://host[:port]`, or `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Ends with `/v2/`.
    base: Url,
    host: String,
}

impl Mirror {
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Host and port as settings name a registry.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.base.scheme(), self.host)
    }
}

impl FromStr for Mirror {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| Error::Request(format!("invalid mirror: {why}"));
        let url = Url::parse(text.trim()).map_err(|_| invalid(format!("{text:?} is not a valid URI")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("unsupported scheme {:?} in {text:?}", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The password is not for a log.
            return Err(invalid("username/password not allowed in URI".into()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(format!("path, query, or fragment at end of the URI {text:?}")));
        }
        let name = url.host_str().ok_or_else(|| invalid(format!("{text:?} names no host")))?;
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let base = url.join("v2/").map_err(|_| invalid(format!("{text:?} is not a valid URI")))?;
        Ok(Self { base, host })
    }
}

#[cfg(test)]
mod tests {
    use super::Mirror;

    #[test]
    fn what_may_be_a_mirror() {
        let mirror: Mirror = "https://mirror.lan:5000".parse().unwrap();
        assert_eq!((mirror.host(), mirror.base().as_str()), ("mirror.lan:5000", "https://mirror.lan:5000/v2/"));
        assert_eq!("http://m/".parse::<Mirror>().unwrap().host(), "m");
        for bad in ["m", "ftp://m", "https://u:p@m", "https://m/x", "https://m?q", "https://m#f", ""] {
            assert!(bad.parse::<Mirror>().is_err(), "{bad}");
        }
        assert!(!"https://u:secret@m".parse::<Mirror>().unwrap_err().to_string().contains("secret"));
    }
}
