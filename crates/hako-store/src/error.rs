//! The store's errors.

use hako_model::{Digest, ErrorKind};
use std::{
    io,
    path::{Path, PathBuf},
};

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written or moved.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database refused.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database was written by a newer Hako; or by an older one, where
    /// nothing shall be changed.
    #[error("database has format {found}, this version of hako knows {known}")]
    Format {
        /// What the file says.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// No engine has had its data there.
    #[error("{path} is no data root: it has no {missing}", path = .root.display())]
    NoStore {
        /// The folder.
        root: PathBuf,
        /// What every data root has.
        missing: &'static str,
    },
    /// Another engine has the data root open.
    #[error("data root {path} is in use by another engine", path = .0.display())]
    InUse(PathBuf),
    /// Content does not have the digest that was promised.
    #[error("content has digest {actual}, expected {expected}")]
    Digest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Content does not have the size that was promised.
    #[error("content of {digest} has {actual} bytes, expected {expected}")]
    Size {
        /// The content.
        digest: String,
        /// What was promised.
        expected: u64,
        /// What came, at least.
        actual: u64,
    },
    /// Something is not in the store.
    #[error("{0} not found")]
    NotFound(String),
    /// A container's name is taken. In Docker's words.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name, without a slash.
        name: String,
        /// The container that has it.
        owner: String,
    },
    /// A network's name is taken. In Docker's words.
    #[error("network with name {0} already exists")]
    NetworkNameTaken(String),
    /// An address of a network is another container's. In Docker's words.
    #[error("Address already in use")]
    AddressTaken,
    /// A network has addresses in use.
    #[error("network {0} has active endpoints")]
    NetworkInUse(String),
}

impl Error {
    /// For `map_err`: an I/O error about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// The kind, for the protocols' tables.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Digest { .. } | Self::Size { .. } => ErrorKind::InvalidParameter,
            Self::NotFound(_) | Self::NoStore { .. } => ErrorKind::NotFound,
            Self::NameTaken { .. } | Self::NetworkNameTaken(_) => ErrorKind::Conflict,
            Self::AddressTaken | Self::NetworkInUse(_) => ErrorKind::Forbidden,
            Self::Io { .. } | Self::Database(_) | Self::Format { .. } | Self::InUse(_) => ErrorKind::Internal,
        }
    }
}

impl From<Error> for hako_model::Error {
    fn from(err: Error) -> Self {
        Self::new(err.kind(), err.to_string())
    }
}
