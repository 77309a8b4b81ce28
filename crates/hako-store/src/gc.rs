//! What no row and no lease names is removed: after each removal of an image,
//! and when the store is opened.

use crate::{Error, Result, Store, files, reserve};
use hako_model::Digest;
use std::{collections::HashSet, fs, path::Path, sync::atomic::Ordering};
use tempfile::TempDir;

/// The key of the image without layers: the digest of nothing.
pub(crate) const EMPTY_CHAIN: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Store {
    /// Removes unreferenced layers, blobs and EROFS images. Rows go first, in
    /// one transaction; then the files are moved out of sight and removed. The
    /// answer is the chain ids of the layers that went.
    ///
    /// # Errors
    /// Database and I/O errors. What could not be removed goes at the next open.
    pub fn collect(&self) -> Result<Vec<Digest>> {
        // On a disk without any room nothing can be moved: it is removed where it lies.
        let trash = match self.making_room(|| self.temp_dir()) {
            Err(err) if err.is_full() => None,
            other => Some(other?),
        };
        let gone = {
            let leases = self.0.leases.freeze();
            let leased = |key: &str| leases.contains_key(key);
            // By itself: a second try of all would find the rows gone, and
            // answer that nothing went.
            let gone = self.making_room(|| self.drop_layer_rows(&leased))?;
            self.sweep_files(trash.as_ref().map(TempDir::path), &leased)?;
            gone
        };
        if let Some(trash) = trash {
            trash.close().map_err(Error::io(self.root()))?;
        }
        // All that a full disk has given up meanwhile.
        reserve::take(self.root());
        Ok(gone)
    }

    fn drop_layer_rows(&self, leased: &dyn Fn(&str) -> bool) -> Result<Vec<Digest>> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let unused: Vec<String> = tx
            .prepare("SELECT chain FROM layers WHERE chain NOT IN (SELECT chain FROM image_layers) ORDER BY n DESC")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let gone: Vec<String> = unused.into_iter().filter(|chain| !leased(chain)).collect();
        for chain in &gone {
            tx.execute("DELETE FROM layers WHERE chain = ?1", [chain])?;
        }
        tx.commit()?;
        Ok(gone.iter().filter_map(|chain| chain.parse().ok()).collect())
    }

    /// Moves every file and folder that nothing names into `trash`, or removes
    /// it where that has no room.
    fn sweep_files(&self, trash: Option<&Path>, leased: &dyn Fn(&str) -> bool) -> Result<()> {
        let blobs = self.texts(
            "SELECT id FROM images UNION SELECT digest FROM image_blobs
             UNION SELECT blob FROM layers WHERE blob IS NOT NULL",
        )?;
        let tops = self.top_chains()?;
        let dirs = self.texts("SELECT CAST(n AS TEXT) FROM layers")?;
        let root = self.root();
        sweep(&root.join("layers"), trash, &|name| dirs.contains(name))?;
        sweep(&root.join("blobs/sha256"), trash, &|name| {
            let digest = format!("sha256:{name}");
            blobs.contains(&digest) || leased(&digest)
        })?;
        sweep(&root.join("erofs"), trash, &|name| {
            let digest = format!("sha256:{}", name.trim_end_matches(".erofs"));
            tops.contains(&digest) || leased(&digest) || digest == EMPTY_CHAIN
        })
    }

    /// The keys of the EROFS images that images have: their top chain ids.
    pub(crate) fn top_chains(&self) -> Result<HashSet<String>> {
        self.texts(
            "SELECT chain FROM image_layers i
             WHERE position = (SELECT max(position) FROM image_layers WHERE image = i.image)",
        )
    }

    pub(crate) fn texts(&self, sql: &str) -> Result<HashSet<String>> {
        Ok(self.rows(sql, [], |row| row.get(0))?.into_iter().collect())
    }

    /// At open, with nobody else about: forgets rows whose content is gone
    /// (somebody removed it by hand), sets the counter of layers, collects.
    pub(crate) fn repair(&self) -> Result<()> {
        let top: Option<u64> = self.db().query_row("SELECT max(n) FROM layers", [], |row| row.get(0))?;
        self.0.next_layer.store(top.unwrap_or(0) + 1, Ordering::Relaxed);
        or_later(self.forget_broken())?;
        or_later(self.repair_volumes())?;
        or_later(self.end_hidden())?;
        or_later(self.drop_unused_steps_once())?;
        if let Some(gone) = or_later(self.collect())?.filter(|gone| !gone.is_empty()) {
            tracing::info!(layers = gone.len(), "removed layers that no image uses");
        }
        Ok(())
    }

    fn forget_broken(&self) -> Result<()> {
        let mut images = self.images()?;
        images.extend(self.hidden_images()?);
        images.extend(self.step_images()?);
        for image in images {
            let whole = self.has_blob(&image.id) && self.image_layers(&image.id)?.iter().all(|l| l.dir.is_dir());
            if !whole {
                tracing::warn!(image = %image.id, "content of this image is missing: it is removed");
                self.db().execute("DELETE FROM images WHERE id = ?1", [image.id.as_str()])?;
            }
        }
        let unused: Vec<(String, u64)> = {
            let db = self.db();
            let mut stmt =
                db.prepare("SELECT chain, n FROM layers WHERE chain NOT IN (SELECT chain FROM image_layers)")?;
            let rows = stmt.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (chain, n) in unused {
            if !self.layer_dir(n).is_dir() {
                self.db().execute("DELETE FROM layers WHERE chain = ?1", [chain])?;
            }
        }
        self.forget_lost_blobs()
    }

    /// An archive or a manifest that is gone is not promised any longer; the
    /// image still runs.
    fn forget_lost_blobs(&self) -> Result<()> {
        for digest in
            self.texts("SELECT blob FROM layers WHERE blob IS NOT NULL UNION SELECT digest FROM image_blobs")?
        {
            if digest.parse().is_ok_and(|digest: Digest| self.has_blob(&digest)) {
                continue;
            }
            tracing::warn!(%digest, "content is missing: a save or a push will miss it");
            let db = self.db();
            db.execute("UPDATE layers SET blob = NULL WHERE blob = ?1", [&digest])?;
            db.execute("DELETE FROM image_blobs WHERE digest = ?1", [&digest])?;
        }
        Ok(())
    }
}

/// What was removed, or `None` where the disk is too full even for that: it goes
/// at the next open. An engine that does not start for it could make no room.
pub(crate) fn or_later<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Err(err) if err.is_full() => {
            tracing::warn!("what nothing needs any more stays for now: {err}");
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn sweep(dir: &Path, trash: Option<&Path>, keep: &dyn Fn(&str) -> bool) -> Result<()> {
    for name in files::names(dir)? {
        if !keep(&name) {
            let from = dir.join(&name);
            let moved = trash.map(|trash| fs::rename(&from, trash.join(&name)).map_err(Error::io(&from)));
            match moved {
                None => remove(&from)?,
                Some(Err(err)) if err.is_full() => remove(&from)?,
                Some(moved) => moved?,
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io(path))
}
