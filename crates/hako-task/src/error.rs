//! [`ErrorKind`] ↔ ttrpc status code: one table, both ways.

use hako_model::{Error, ErrorKind};
use ttrpc::proto::{Code, Status};

/// The table. The first row of a code is what the code is read back as.
const TABLE: &[(ErrorKind, Code)] = &[
    (ErrorKind::InvalidParameter, Code::INVALID_ARGUMENT),
    (ErrorKind::Unauthorized, Code::UNAUTHENTICATED),
    (ErrorKind::Forbidden, Code::PERMISSION_DENIED),
    (ErrorKind::NotFound, Code::NOT_FOUND),
    (ErrorKind::Conflict, Code::FAILED_PRECONDITION),
    (ErrorKind::NotModified, Code::ALREADY_EXISTS),
    (ErrorKind::Unsupported, Code::UNIMPLEMENTED),
    (ErrorKind::Unavailable, Code::UNAVAILABLE),
    (ErrorKind::DeadlineExceeded, Code::DEADLINE_EXCEEDED),
    (ErrorKind::Internal, Code::INTERNAL),
];

/// The ttrpc error that carries `err`.
#[must_use]
pub fn to_ttrpc(err: &Error) -> ttrpc::Error {
    let code = TABLE.iter().find(|row| row.0 == err.kind).map_or(Code::INTERNAL, |row| row.1);
    let mut status = Status::new();
    status.set_code(code);
    status.set_message(err.message.clone());
    ttrpc::Error::RpcStatus(status)
}

/// The error that came over ttrpc. A broken connection is [`ErrorKind::Unavailable`].
#[must_use]
pub fn from_ttrpc(err: ttrpc::Error) -> Error {
    match err {
        ttrpc::Error::RpcStatus(status) => {
            let code = status.code();
            let kind = TABLE.iter().find(|row| row.1 == code).map_or(ErrorKind::Internal, |row| row.0);
            Error::new(kind, status.message())
        }
        other => Error::new(ErrorKind::Unavailable, other.to_string()),
    }
}
