//! Network namespaces that live at a path: a bind mount keeps one alive while
//! no process is in it.

use crate::{Error, Result};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open network namespace, and a netlink connection into it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn current() -> Result<Self> {
        Err(missing())
    }
    /// Makes a namespace at `path` (its folder is made if it is missing), with
    /// `lo` up. One that is left there from before a crash is replaced.
    ///
    /// # Errors
    /// The kernel's. On an error nothing is left behind.
    pub async fn create(path: &Path) -> Result<Self> {
        let _ = path;
        Err(missing())
    }
    /// The namespace at `path`; `/proc/<pid>/ns/net` will do.
    ///
    /// # Errors
    /// `Io` if there is nothing; `NotANamespace` for a path that has no
    /// namespace mounted (a crash between file and mount).
    pub async fn open(path: &Path) -> Result<Self> {
        let _ = path;
        Err(missing())
    }
    /// Removes the namespace at `path`, if there is one. Interfaces in it go
    /// when the last process in it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn remove(path: &Path) -> Result<()> {
        let _ = path;
        Err(missing())
    }
    /// The names in `folder`, for recovery; a folder that is missing has none.
    ///
    /// # Errors
    /// Reading the folder.
    pub fn list(folder: &Path) -> Result<Vec<String>> {
        let _ = folder;
        Err(missing())
    }
    /// Runs `work` in the namespace, on a thread that lives only for it:
    /// sockets that it opens and children that it starts belong there.
    ///
    /// # Errors
    /// Entering; a panic of `work`.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _ = (work, &self.inner.fd);
        Err(missing())
    }
    /// Writes `/proc/sys/<name>` (slashes, as `net/ipv4/ip_forward`) in the namespace.
    ///
    /// # Errors
    /// The kernel's, with the name.
    pub async fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let _ = (name, value, PathBuf::new());
        Err(missing())
    }
}

fn missing() -> Error {
    Error::Unsupported("not built yet".to_owned())
}
