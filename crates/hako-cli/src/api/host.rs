//! Where the engine listens: `-H`, `HAKO_HOST`, or the default socket.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, in the clear unless `tls`.
    Tcp {
        /// What to connect to.
        address: String,
        /// Whether the scheme alone asks for TLS (`https://`).
        tls: bool,
    },
}

impl Host {
    /// Reads an address in Docker's forms: `unix://PATH`, `PATH`, `tcp://HOST[:PORT]`,
    /// `http://…`, `https://…`.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self> {
        let invalid = || Error::msg(format!("invalid engine address {text:?}: use unix://PATH or tcp://HOST:PORT"));
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        if rest.is_empty() {
            return Err(invalid());
        }
        let rest = rest.trim_end_matches('/');
        match scheme {
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let tls_scheme = scheme == "https";
                Ok(Self::Tcp { address: with_port(rest, tls || tls_scheme), tls: tls_scheme })
            }
            _ => Err(invalid()),
        }
    }
}

/// Adds Docker's port where there is none: 2375, with TLS 2376.
fn with_port(address: &str, tls: bool) -> String {
    let has_port = match address.rfind(']') {
        Some(end) => address[end..].contains(':'),
        None => address.contains(':'),
    };
    if has_port { address.to_owned() } else { format!("{address}:{}", if tls { 2376 } else { 2375 }) }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address, .. } => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    #[test]
    fn forms() {
        let parse = |text, tls| Host::parse(text, tls).map(|h| h.to_string()).unwrap_or_else(|e| e.to_string());
        assert_eq!(parse("unix:///run/x.sock", false), "unix:///run/x.sock");
        assert_eq!(parse("/run/x.sock", false), "unix:///run/x.sock");
        assert_eq!(parse("tcp://h", false), "tcp://h:2375");
        assert_eq!(parse("tcp://h", true), "tcp://h:2376");
        assert_eq!(parse("tcp://[::1]:99", true), "tcp://[::1]:99");
        assert!(parse("ftp://h", false).contains("invalid engine address"));
    }
}
