//! Unpacked layers: `layers/<n>`, found by chain id.

use crate::{Error, Result, Store, files};
use hako_model::Digest;
use rusqlite::params;
use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

/// An unpacked layer.
#[derive(Debug, Clone)]
pub struct LayerRow {
    /// The digest of this layer and all below it.
    pub chain: Digest,
    /// The digest of its tar, unpacked.
    pub diff: Digest,
    /// The tree, an overlay lower directory.
    pub dir: PathBuf,
    /// Bytes of its files.
    pub size: u64,
    /// The archive that it came from.
    pub blob: Option<Digest>,
    /// The archive's media type.
    pub media_type: Option<String>,
}

/// A layer to be committed.
#[derive(Debug, Clone)]
pub struct NewLayer<'a> {
    /// The digest of this layer and all below it.
    pub chain: &'a Digest,
    /// The chain id below it.
    pub parent: Option<&'a Digest>,
    /// The digest of its tar, unpacked.
    pub diff: &'a Digest,
    /// Bytes of its files.
    pub size: u64,
    /// The archive that it came from.
    pub blob: Option<&'a Digest>,
    /// The archive's media type.
    pub media_type: Option<&'a str>,
}

impl Store {
    /// The unpacked layer with this chain id. Hold the chain id by a lease before.
    ///
    /// # Errors
    /// Database errors.
    pub fn layer(&self, chain: &Digest) -> Result<Option<LayerRow>> {
        self.row(
            "SELECT chain, diff, n, size, blob, media_type FROM layers WHERE chain = ?1",
            [chain.as_str()],
            |row| self.read_layer(row),
        )
    }

    /// The image's layers, bottom first.
    ///
    /// # Errors
    /// Database errors.
    pub fn image_layers(&self, image: &Digest) -> Result<Vec<LayerRow>> {
        self.rows(
            "SELECT l.chain, l.diff, l.n, l.size, l.blob, l.media_type
             FROM image_layers i JOIN layers l USING (chain) WHERE i.image = ?1 ORDER BY i.position",
            [image.as_str()],
            |row| self.read_layer(row),
        )
    }

    /// Takes the tree `dir` (in [`Store::temp_dir`], already durable: unpacking
    /// ends with a sync of the filesystem) as the layer. Where another has put
    /// the same chain id meanwhile, that one stays and `dir` is left to its owner.
    ///
    /// # Errors
    /// I/O and database errors.
    pub fn commit_layer(&self, dir: &Path, new: &NewLayer<'_>) -> Result<()> {
        if self.layer(new.chain)?.is_some() {
            return Ok(());
        }
        // No collection between the folder and its row.
        let _frozen = self.0.leases.freeze();
        let n = self.0.next_layer.fetch_add(1, Ordering::Relaxed);
        let target = self.layer_dir(n);
        files::commit(dir, &target)?;
        let db = self.db();
        let done = db.execute(
            "INSERT OR IGNORE INTO layers (chain, n, diff, parent, size, blob, media_type)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                new.chain.as_str(),
                n,
                new.diff.as_str(),
                new.parent.map(Digest::as_str),
                new.size,
                new.blob.map(Digest::as_str),
                new.media_type
            ],
        );
        match done {
            Ok(1) => Ok(()),
            // Another was faster; the folder has no row.
            Ok(_) => std::fs::remove_dir_all(&target).map_err(Error::io(&target)),
            Err(err) => Err(err.into()),
        }
    }

    /// Whether the archive that a layer came from is there: somebody may have removed it by hand.
    #[must_use]
    pub fn has_archive(&self, layer: &LayerRow) -> bool {
        layer.blob.as_ref().is_some_and(|blob| self.has_blob(blob))
    }

    /// Gives a layer its archive again (committed, and leased until now).
    ///
    /// # Errors
    /// Database errors.
    pub fn put_archive(&self, chain: &Digest, blob: &Digest, media_type: &str) -> Result<()> {
        self.db().execute(
            "UPDATE layers SET blob = ?2, media_type = ?3 WHERE chain = ?1",
            [chain.as_str(), blob.as_str(), media_type],
        )?;
        Ok(())
    }

    /// Every layer, whether an image has it or not.
    ///
    /// # Errors
    /// Database errors.
    pub fn layers(&self) -> Result<Vec<LayerRow>> {
        Ok(self.layer_rows()?.into_iter().map(|(.., layer)| layer).collect())
    }

    /// Every layer with its number and the chain id below it.
    pub(crate) fn layer_rows(&self) -> Result<Vec<(u64, Option<String>, LayerRow)>> {
        self.rows("SELECT chain, diff, n, size, blob, media_type, parent FROM layers ORDER BY n", [], |row| {
            Ok((row.get(2)?, row.get(6)?, self.read_layer(row)?))
        })
    }

    pub(crate) fn layer_dir(&self, n: u64) -> PathBuf {
        self.0.root.join("layers").join(n.to_string())
    }

    fn read_layer(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<LayerRow> {
        let blob: Option<String> = row.get(4)?;
        Ok(LayerRow {
            chain: crate::images::digest(row, 0)?,
            diff: crate::images::digest(row, 1)?,
            dir: self.layer_dir(row.get(2)?),
            size: row.get(3)?,
            blob: blob.and_then(|b| b.parse().ok()),
            media_type: row.get(5)?,
        })
    }
}
