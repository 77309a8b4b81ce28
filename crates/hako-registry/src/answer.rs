//! What a registry answers: errors in Docker's words, bodies of limited length.

use crate::{Error, Result};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What a request was about, for the text of its failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The familiar reference, or a digest.
    pub(crate) what: &'a str,
    /// The repository's familiar name.
    pub(crate) repository: &'a str,
    /// It was to be written.
    pub(crate) push: bool,
    /// Credentials were shown.
    pub(crate) somebody: bool,
}

/// Turns an error answer into an error.
pub(crate) async fn check(response: Response, subject: Subject<'_>) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read_limited(response, 64 << 10, "error answer").await.unwrap_or_default();
    let entry = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|b| b.errors.into_iter().next());
    let name = subject.repository.to_owned();
    let reference = subject.what.to_owned();
    let Some(entry) = entry else {
        return Err(match status {
            StatusCode::NOT_FOUND if !subject.push => {
                Error::NoManifest { reference, cause: "manifest unknown: manifest unknown".into() }
            }
            StatusCode::UNAUTHORIZED => Error::Unauthorized("unauthorized: authentication required".into()),
            StatusCode::FORBIDDEN if subject.push => {
                Error::Unauthorized("denied: requested access to the resource is denied".into())
            }
            StatusCode::FORBIDDEN => Error::Denied { name, cause: "denied".into() },
            _ => Error::Status(status.to_string()),
        });
    };
    // A registry's words are shown, but not at any length.
    let message: String = entry.message.chars().take(512).collect();
    let cause = format!("{}: {message}", entry.code.to_lowercase().replace('_', " "));
    Err(match entry.code.as_str() {
        "UNAUTHORIZED" | "DENIED" if subject.push => Error::Unauthorized(cause),
        "MANIFEST_UNKNOWN" if !subject.push => Error::NoManifest { reference, cause },
        "NAME_UNKNOWN" if !subject.push => Error::NoRepository { name, cause },
        "DENIED" => Error::Denied { name, cause },
        "UNAUTHORIZED" if !subject.somebody => Error::Denied { name, cause },
        "UNAUTHORIZED" => Error::Unauthorized(cause),
        // It may have passed when it is asked again.
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Error::Status(format!("{status}: {cause}"))
        }
        _ => Error::Registry(cause),
    })
}

/// Reads a body of at most `limit` bytes; one that is longer is left unread.
pub(crate) async fn read_limited(mut response: Response, limit: u64, what: &str) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|err| Error::transport("Get", &url, &err))? {
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
