//! The engine's own records of its containers.

use crate::{Error, Result, Store};
use rusqlite::{Connection, OptionalExtension, params};

/// One container as the engine wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The engine's record.
    pub json: String,
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContainerRow> {
    Ok(ContainerRow { id: row.get(0)?, name: row.get(1)?, json: row.get(2)? })
}

impl Store {
    /// Writes a container's record, new or changed (a rename too). Durable
    /// before it returns. From then on its image stays, or is hidden at most.
    ///
    /// # Errors
    /// [`Error::NameTaken`] where another container has the name;
    /// [`Error::NotFound`] where it is new and its image is gone.
    pub fn put_container(&self, id: &str, name: &str, image: &str, json: &str) -> Result<()> {
        // What has ended has ended, on a full disk too.
        self.making_room(|| put(&self.db(), id, name, image, json))
    }

    /// The same, but it is the kernel's to say when it reaches the disk: it
    /// outlives this process, and not a crash of the machine, unless something
    /// durable is written after it. For what means no more than its absence
    /// once no process of before is left.
    ///
    /// # Errors
    /// As [`Self::put_container`].
    pub fn put_container_soon(&self, id: &str, name: &str, image: &str, json: &str) -> Result<()> {
        self.making_room(|| self.soon(|db| put(db, id, name, image, json)))
    }

    /// The record of the container with this whole id.
    ///
    /// # Errors
    /// Database errors.
    pub fn container(&self, id: &str) -> Result<Option<ContainerRow>> {
        self.row("SELECT id, name, json FROM containers WHERE id = ?1", [id], read)
    }

    /// The record of the container with this name.
    ///
    /// # Errors
    /// Database errors.
    pub fn container_by_name(&self, name: &str) -> Result<Option<ContainerRow>> {
        self.row("SELECT id, name, json FROM containers WHERE name = ?1", [name], read)
    }

    /// Every container.
    ///
    /// # Errors
    /// Database errors.
    pub fn containers(&self) -> Result<Vec<ContainerRow>> {
        self.rows("SELECT id, name, json FROM containers ORDER BY id", [], read)
    }

    /// [`Self::delete_container`], on the disk as soon as the kernel writes it:
    /// see [`Self::put_container_soon`].
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_container_soon(&self, id: &str) -> Result<bool> {
        self.making_room(|| self.soon(|db| delete(db, id)))
    }

    /// Removes a container's record; whether there was one.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_container(&self, id: &str) -> Result<bool> {
        self.making_room(|| delete(&self.db(), id))
    }
}

fn put(db: &Connection, id: &str, name: &str, image: &str, json: &str) -> Result<()> {
    let result = db
        .prepare_cached(
            "INSERT INTO containers (id, name, image, json) SELECT ?1, ?2, ?3, ?4
             WHERE EXISTS (SELECT 1 FROM images WHERE id = ?3) OR EXISTS (SELECT 1 FROM containers WHERE id = ?1)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, image = excluded.image, json = excluded.json",
        )?
        .execute(params![id, name, image, json]);
    match result {
        Ok(0) => Err(Error::NotFound(format!("image {image}"))),
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(code, _)) if code.code == rusqlite::ErrorCode::ConstraintViolation => {
            let owner: String = db
                .query_row("SELECT id FROM containers WHERE name = ?1", [name], |row| row.get(0))
                .optional()?
                .unwrap_or_default();
            Err(Error::NameTaken { name: name.to_owned(), owner })
        }
        Err(err) => Err(err.into()),
    }
}

fn delete(db: &Connection, id: &str) -> Result<bool> {
    Ok(db.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([id])? > 0)
}
