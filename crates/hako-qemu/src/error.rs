//! What can go wrong between us and a QEMU process.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error(
        "{} is not installed: containers behind the hyperv wall need QEMU \
         (Debian and Ubuntu: apt-get install {}; Fedora: dnf install {})",
        program.display(), package(program).0, package(program).1
    )]
    NotInstalled {
        /// What was looked for.
        program: PathBuf,
    },
    /// A file that the machine is made of cannot be opened.
    #[error("open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The network card's tap device cannot be opened.
    #[error("open the tap device {name}: {source}")]
    Tap {
        /// The device.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A step of the start on this side failed.
    #[error("{step}: {source}")]
    Io {
        /// What was done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// QEMU refused a QMP command.
    #[error("qmp {command}: {message}")]
    Qmp {
        /// The command.
        command: String,
        /// QEMU's words.
        message: String,
    },
}

/// Who has a QEMU program: Debian's package, and Fedora's.
fn package(program: &Path) -> (&'static str, &'static str) {
    if program.ends_with("qemu-system-aarch64") {
        return ("qemu-system-arm", "qemu-system-aarch64-core");
    }
    ("qemu-system-x86", "qemu-system-x86-core")
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
    /// A QMP failure on this side.
    pub(crate) fn qmp(command: &str, message: impl Into<String>) -> Self {
        Self::Qmp { command: command.to_owned(), message: message.into() }
    }
}
