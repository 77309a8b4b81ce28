//! [`ErrorKind`] ↔ HTTP status: one table, both ways.

use hako_model::ErrorKind;
use serde::{Deserialize, Serialize};

/// The body of every error answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The text for the user.
    pub message: String,
}

/// The table. The first row of a status is what the status is read back as.
const TABLE: &[(ErrorKind, u16)] = &[
    (ErrorKind::InvalidParameter, 400),
    (ErrorKind::Unauthorized, 401),
    (ErrorKind::Forbidden, 403),
    (ErrorKind::NotFound, 404),
    (ErrorKind::Conflict, 409),
    (ErrorKind::NotModified, 304),
    (ErrorKind::Unsupported, 501),
    (ErrorKind::Unavailable, 503),
    (ErrorKind::DeadlineExceeded, 504),
    (ErrorKind::Internal, 500),
];

/// The HTTP status that carries `kind`.
#[must_use]
pub fn http_status(kind: ErrorKind) -> u16 {
    TABLE.iter().find(|row| row.0 == kind).map_or(500, |row| row.1)
}

/// The kind that an HTTP error status stands for; other statuses are internal.
#[must_use]
pub fn kind_of_status(status: u16) -> ErrorKind {
    TABLE.iter().find(|row| row.1 == status).map_or(ErrorKind::Internal, |row| row.0)
}
