//! Volumes: their records and their folders.
//!
//! ```text
//! made:    folder ─► row (with its maker, if a container is created with it) ─► shown
//! claimed: the container's record is there: the maker is forgotten
//! removed: row marked ─► folder out of sight ─► row deleted ─► folder deleted
//! ```
//!
//! A folder without a row goes at a start only if it is empty: no bytes of a
//! user are removed because a row is missing.

use crate::{Error, Result, Store, files};
use rusqlite::{OptionalExtension, params};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where they lie in the data root.
pub(crate) const DIR: &str = "volumes";
/// What of a volume's folder its users see.
const DATA: &str = "_data";
/// Where its first content is put together.
const PART: &str = "_part";

/// One volume as the engine wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its name.
    pub name: String,
    /// The engine's record.
    pub json: String,
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRow> {
    Ok(VolumeRow { name: row.get(0)?, json: row.get(1)? })
}

/// Whether there is nothing in `dir`; a folder that is not there is empty too.
pub(crate) fn is_empty(dir: &Path) -> bool {
    match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(err) => err.kind() == io::ErrorKind::NotFound,
    }
}

impl Store {
    /// A volume's own folder, which is the engine's.
    fn volume_dir(&self, name: &str) -> PathBuf {
        self.root().join(DIR).join(name)
    }

    /// The folder with the files of the volume `name`, whether it exists or
    /// not. The caller has checked the name: it is one part of a path.
    #[must_use]
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume_dir(name).join(DATA)
    }

    /// Where the first content of a volume is put together; see
    /// [`Store::fill_volume`].
    #[must_use]
    pub fn volume_part(&self, name: &str) -> PathBuf {
        self.volume_dir(name).join(PART)
    }

    /// Makes a volume, if there is none of this name; whether it was made.
    /// `maker` is the container that it is made for, which takes it with
    /// [`Store::claim_volumes`]. Durable before it returns.
    ///
    /// # Errors
    /// Database and I/O errors.
    pub fn put_volume(&self, row: &VolumeRow, maker: Option<&str>) -> Result<bool> {
        if self.volume(&row.name)?.is_some() {
            return Ok(false);
        }
        // One of this name whose removal has failed half way.
        self.finish_removal(&row.name)?;
        let (dir, data) = (self.volume_dir(&row.name), self.volume_data(&row.name));
        // Closed to other users of the host, whatever programs lie in it.
        files::make_dir(&dir, 0o700)?;
        if !data.is_dir() {
            files::make_dir(&data, 0o755)?;
        }
        files::sync_dir(&dir)?;
        files::sync_dir(&self.root().join(DIR))?;
        let made = self.db().execute(
            "INSERT INTO volumes (name, json, maker) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING",
            params![row.name, row.json, maker],
        )?;
        Ok(made > 0)
    }

    /// Shows what was put together in [`Store::volume_part`] as the volume's
    /// files, which so far are none.
    ///
    /// # Errors
    /// I/O errors; that there are files by now.
    pub fn fill_volume(&self, name: &str) -> Result<()> {
        let (part, data) = (self.volume_part(name), self.volume_data(name));
        let open = fs::File::open(&part).map_err(Error::io(&part))?;
        // All of it, and not this folder alone.
        rustix::fs::syncfs(&open).map_err(|errno| Error::io(&part)(errno.into()))?;
        fs::rename(&part, &data).map_err(Error::io(&data))?;
        files::sync_dir(&self.volume_dir(name))
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// Database errors.
    pub fn volume(&self, name: &str) -> Result<Option<VolumeRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT name, json FROM volumes WHERE name = ?1 AND gone = 0")?;
        Ok(stmt.query_row([name], read).optional()?)
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// Database errors.
    pub fn volumes(&self) -> Result<Vec<VolumeRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT name, json FROM volumes WHERE gone = 0 ORDER BY name")?;
        let rows = stmt.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The container `maker` is there: what was made for it is kept from here on.
    ///
    /// # Errors
    /// Database errors.
    pub fn claim_volumes(&self, maker: &str) -> Result<()> {
        self.db().execute("UPDATE volumes SET maker = NULL WHERE maker = ?1", [maker])?;
        Ok(())
    }

    /// Removes a volume with its files, of which none may be mounted or in use;
    /// whether there was one.
    ///
    /// # Errors
    /// Database and I/O errors. What is left goes at the next open.
    pub fn remove_volume(&self, name: &str) -> Result<bool> {
        let mark = "UPDATE volumes SET gone = 1 WHERE name = ?1 AND gone = 0";
        let marked = self.making_room(|| Ok(self.db().execute(mark, [name])?))?;
        if marked > 0 {
            self.making_room(|| self.finish_removal(name))?;
        }
        Ok(marked > 0)
    }

    /// Goes on with a removal that is marked; there may be none.
    fn finish_removal(&self, name: &str) -> Result<()> {
        let marked = "SELECT EXISTS (SELECT 1 FROM volumes WHERE name = ?1 AND gone = 1)";
        if !self.db().query_row(marked, [name], |row| row.get::<_, bool>(0))? {
            return Ok(());
        }
        let dir = self.volume_dir(name);
        let tmp = self.root().join("tmp");
        let trash = self.temp_dir()?.keep();
        match fs::rename(&dir, &trash) {
            Ok(()) => files::sync_dir(&self.root().join(DIR))?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(Error::io(&dir)(err)),
        }
        self.db().execute("DELETE FROM volumes WHERE name = ?1 AND gone = 1", [name])?;
        files::remove_tree(&trash, &tmp)
    }

    /// At open: finishes removals, and removes what was made for containers
    /// that never came to be.
    pub(crate) fn repair_volumes(&self) -> Result<()> {
        self.db().execute_batch(
            "UPDATE volumes SET gone = 1 WHERE maker IS NOT NULL AND maker NOT IN (SELECT id FROM containers);
             UPDATE volumes SET maker = NULL WHERE gone = 0;",
        )?;
        for name in self.texts("SELECT name FROM volumes WHERE gone = 1")? {
            tracing::info!("removing what is left of volume {name}");
            self.finish_removal(&name)?;
        }
        let known = self.texts("SELECT name FROM volumes")?;
        for name in files::names(&self.root().join(DIR))? {
            let (dir, part) = (self.volume_dir(&name), self.volume_part(&name));
            if part.is_dir() {
                files::remove_tree(&part, &self.root().join("tmp"))?;
            }
            // Of two empty folders nobody misses anything; all others are somebody's.
            if !known.contains(&name)
                && fs::remove_dir(self.volume_data(&name)).and_then(|()| fs::remove_dir(&dir)).is_err()
                && fs::remove_dir(&dir).is_err()
            {
                tracing::warn!("{} is no volume's folder, and is left alone", dir.display());
            }
        }
        Ok(())
    }
}
