//! Where the other programs are: beside this one, then in `/usr/lib/hako`.

use hako_model::{Error, Result};
use std::path::{Path, PathBuf};

/// The folders that are looked in, in order.
pub fn folders() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    beside.into_iter().chain([PathBuf::from("/usr/lib/hako")]).collect()
}

/// The file `name` in the first folder that has it.
fn find(name: &str) -> Option<PathBuf> {
    folders().into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The programs, found once at start. One that is missing is named when it is
/// needed, so that an engine without a guest still serves the process wall.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `hako-shim`.
    pub shim: PathBuf,
    /// `hako-runtime`.
    pub runtime: PathBuf,
    /// `hako-init`.
    pub init: PathBuf,
}

impl Programs {
    /// Looks for all of them.
    #[must_use]
    pub fn locate() -> Self {
        let path = |name: &str| find(name).unwrap_or_else(|| PathBuf::from(name));
        Self { shim: path("hako-shim"), runtime: path("hako-runtime"), init: path("hako-init") }
    }
}

/// Says which program is missing, where it is.
///
/// # Errors
/// `Unavailable`, naming the program and the folders.
pub fn present(path: &Path) -> Result<&Path> {
    if path.is_absolute() && path.is_file() {
        return Ok(path);
    }
    let looked = folders().iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" and ");
    Err(Error::internal(format!("{} not found (looked in {looked})", path.display())))
}
