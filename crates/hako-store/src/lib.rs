//! What an engine keeps: content by digest, images and their references,
//! unpacked layers, EROFS images, volumes, and the records of its containers.
//!
//! ```text
//! download ─► tmp/…  ──commit──► blobs/sha256/<hex>     ┐
//! unpack   ─► tmp/…  ──commit──► layers/<n>  + row      ├─► put_image (one transaction) ─► visible
//! mkfs     ─► tmp/…  ──commit──► erofs/<key>.erofs      ┘
//! remove_image (one transaction) ─► collect: what no row and no lease names is removed
//! ```
//!
//! Everything becomes durable before it becomes visible, and rows go before
//! files do, so that a kill at any point leaves either the old or the new
//! state; `Store::open` removes what was left between.
//!
//! Every call blocks: call it on a blocking thread. A [`Store`] is a cheap
//! handle, and clones share one database connection.

mod blobs;
mod build;
mod check;
mod containers;
mod db;
mod error;
mod files;
mod gc;
mod images;
mod layers;
mod lock;
mod names;
mod networks;
mod reserve;
mod volumes;

pub use blobs::{Blob, BlobWriter};
pub use build::{NewStep, StepRow};
pub use check::Finding;
pub use containers::ContainerRow;
pub use error::{Error, Result};
pub use images::{ImageRow, NewImage, NewRef, RefRow, Removal};
pub use layers::{LayerRow, NewLayer};
pub use lock::{KeyGuard, Lease};
pub use networks::{NetworkRow, SandboxRow};
pub use volumes::VolumeRow;

use hako_model::Digest;
use rusqlite::Connection;
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The handle.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    db: Mutex<Connection>,
    keys: Arc<lock::Keys>,
    leases: Arc<lock::Leases>,
    /// Numbers of `layers/<n>`: never used twice.
    next_layer: std::sync::atomic::AtomicU64,
    /// Held for as long as the store is open: one engine for one data root.
    _lock: File,
}

impl Store {
    /// Opens or makes the store under `data_root`, empties `tmp/`, and removes
    /// what an interrupted engine left half made or half removed.
    ///
    /// # Errors
    /// [`Error::InUse`] where another engine has it open; I/O and database errors.
    pub fn open(data_root: impl AsRef<Path>) -> Result<Self> {
        let root = data_root.as_ref();
        files::make_dir(root, 0o711)?;
        let root = &root.canonicalize().map_err(Error::io(root))?;
        let lock = files::lock_root(root)?;
        for dir in ["blobs/sha256", "layers", "erofs", "disks", "cache", "containers", volumes::DIR] {
            files::make_dir(&root.join(dir), 0o700)?;
        }
        // On a full disk what follows needs a little room.
        reserve::release(root);
        files::empty_tmp(root)?;
        let db = db::open(&root.join(db::FILE))?;
        let store = Self(Arc::new(Inner {
            root: root.clone(),
            db: Mutex::new(db),
            keys: Arc::default(),
            leases: Arc::default(),
            next_layer: std::sync::atomic::AtomicU64::new(1),
            _lock: lock,
        }));
        store.repair()?;
        reserve::take(root);
        Ok(store)
    }

    /// The data root, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// A new empty folder in `tmp/`, on the same filesystem as everything
    /// else, removed when dropped.
    ///
    /// # Errors
    /// I/O errors.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir> {
        let tmp = self.0.root.join("tmp");
        tempfile::Builder::new().prefix("d").tempdir_in(&tmp).map_err(Error::io(&tmp))
    }

    /// Waits until nobody else holds `key`, and holds it: for work that shall
    /// happen once (the download of a digest, the unpacking of a chain id).
    /// For async callers; see [`Store::lock_blocking`].
    pub async fn lock(&self, key: &str) -> KeyGuard {
        self.0.keys.lock(key).await
    }

    /// [`Store::lock`] for a blocking thread.
    ///
    /// # Panics
    /// On an async thread.
    #[must_use]
    pub fn lock_blocking(&self, key: &str) -> KeyGuard {
        self.0.keys.lock_blocking(key)
    }

    /// A lease: what it holds is not collected until it is dropped. Hold
    /// first, then look whether the thing is there.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease::new(self.0.leases.clone())
    }

    /// Where the EROFS image of the image with this top chain id lies; `None`
    /// until [`Store::commit_erofs`].
    #[must_use]
    pub fn erofs(&self, key: &Digest) -> Option<PathBuf> {
        let path = self.erofs_path(key);
        path.is_file().then_some(path)
    }

    /// Takes `file` (finished, in [`Store::temp_dir`]) as the EROFS image of `key`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn commit_erofs(&self, key: &Digest, file: &Path) -> Result<PathBuf> {
        let path = self.erofs_path(key);
        files::commit(file, &path)?;
        Ok(path)
    }

    /// What every EROFS image takes on the disk, by its key.
    ///
    /// # Errors
    /// I/O errors.
    pub fn erofs_sizes(&self) -> Result<Vec<(Digest, u64)>> {
        let dir = self.0.root.join("erofs");
        let mut sizes = Vec::new();
        for name in files::names(&dir)? {
            // One that is collected meanwhile is none.
            let size = std::fs::metadata(dir.join(&name)).map_or(0, |meta| files::on_disk(&meta));
            if let Ok(key) = format!("sha256:{}", name.trim_end_matches(".erofs")).parse() {
                sizes.push((key, size));
            }
        }
        Ok(sizes)
    }

    fn erofs_path(&self, key: &Digest) -> PathBuf {
        self.0.root.join("erofs").join(format!("{}.erofs", key.hex()))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic in another holder leaves no half transaction: rusqlite rolls back on drop.
        self.0.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
