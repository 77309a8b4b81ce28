//! What a registry may answer, in Docker's words.

use hako_model::{Digest, DigestError, ErrorKind};
use hako_platform::PlatformError;

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a registry did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came.
    #[error("{method} \"{url}\": {cause}")]
    Transport {
        /// As Go's clients write it: `Get`.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// The repository is closed to this user, or is not there.
    #[error("pull access denied for {name}, repository does not exist or may require 'docker login': {cause}")]
    Denied {
        /// Familiar name.
        name: String,
        /// The registry's words.
        cause: String,
    },
    /// No such tag or digest.
    #[error("manifest for {reference} not found: {cause}")]
    NoManifest {
        /// Familiar reference.
        reference: String,
        /// The registry's words.
        cause: String,
    },
    /// No such repository.
    #[error("repository {name} not found: {cause}")]
    NoRepository {
        /// Familiar name.
        name: String,
        /// The registry's words.
        cause: String,
    },
    /// Credentials are missing or wrong.
    #[error("{0}")]
    Unauthorized(String),
    /// The registry named another error.
    #[error("{0}")]
    Registry(String),
    /// An answer of another kind.
    #[error("received unexpected HTTP status: {0}")]
    Status(String),
    /// Who chooses from an index takes nothing of it.
    #[error("{0}")]
    Choice(hako_model::Error),
    /// Nothing for this platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(String),
    /// Content exceeds a limit.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Content does not have the promised digest.
    #[error("{what} verification failed for digest {expected}: the content has digest {actual}")]
    Digest {
        /// What.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Content cannot be read.
    #[error("malformed {what}: {cause}")]
    Malformed {
        /// What.
        what: String,
        /// Why.
        cause: String,
    },
    /// Content of a kind that is no image.
    #[error("{0}")]
    Unsupported(String),
    /// The client gave something that cannot be used.
    #[error("{0}")]
    Request(String),
    /// Whoever takes the bytes has gone.
    #[error("download was cancelled")]
    Cancelled,
}

impl Error {
    /// The kind, for the protocols' tables.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied { .. } | Self::NoManifest { .. } | Self::NoRepository { .. } | Self::NoPlatform(_) => {
                ErrorKind::NotFound
            }
            // Docker answers 500 here, and 401 only where its own API refuses.
            Self::Unauthorized(_)
            | Self::Transport { .. }
            | Self::Registry(_)
            | Self::Status(_)
            | Self::TooLarge { .. }
            | Self::Digest { .. }
            | Self::Malformed { .. }
            | Self::Cancelled => ErrorKind::Internal,
            Self::Choice(err) => err.kind,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Request(_) => ErrorKind::InvalidParameter,
        }
    }

    pub(crate) fn malformed(what: &str, cause: impl ToString) -> Self {
        Self::Malformed { what: what.to_owned(), cause: cause.to_string() }
    }

    /// An answer that never came, with the innermost cause alone: reqwest's own
    /// text repeats the address and says little else.
    pub(crate) fn transport(method: &'static str, url: &reqwest::Url, err: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = err;
        let (mut refused, mut lookup, mut unknown) = (false, false, false);
        while let Some(next) = cause.source() {
            cause = next;
            lookup |= next.to_string() == "dns error";
            unknown |= is_unknown_authority(next);
            if let Some(io) = next.downcast_ref::<std::io::Error>() {
                refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
                // What is inside is not one of its sources.
                unknown |= io.get_ref().is_some_and(|inner| is_unknown_authority(inner));
            }
        }
        let host = url.host_str().unwrap_or_default();
        let cause = if refused {
            let port = url.port_or_known_default().unwrap_or_default();
            format!("dial tcp {host}:{port}: connect: connection refused")
        } else if lookup {
            tracing::debug!("lookup of {host}: {cause}");
            format!("dial tcp: lookup {host}: no such host")
        } else if unknown {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        } else if err.is_timeout() {
            format!("dial tcp {host}: i/o timeout")
        } else {
            cause.to_string()
        };
        Self::Transport { method, url: url.to_string(), cause }
    }
}

fn is_unknown_authority(err: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::{CertificateError::UnknownIssuer, Error::InvalidCertificate};
    matches!(err.downcast_ref(), Some(InvalidCertificate(UnknownIssuer)))
}

/// The last cause of a chain.
pub(crate) fn innermost<'a>(err: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    let mut cause: &dyn std::error::Error = err;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

impl From<Error> for hako_model::Error {
    fn from(err: Error) -> Self {
        Self::new(err.kind(), err.to_string())
    }
}

impl From<PlatformError> for Error {
    fn from(err: PlatformError) -> Self {
        Self::Request(err.to_string())
    }
}

impl From<DigestError> for Error {
    fn from(err: DigestError) -> Self {
        Self::Unsupported(err.to_string())
    }
}
