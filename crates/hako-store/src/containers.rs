//! The engine's own records of its containers.

use crate::{Error, Result, Store};
use rusqlite::{OptionalExtension, params};

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
    /// before it returns.
    ///
    /// # Errors
    /// [`Error::NameTaken`] where another container has the name.
    pub fn put_container(&self, id: &str, name: &str, json: &str) -> Result<()> {
        // What has ended has ended, on a full disk too.
        self.making_room(|| self.put_container_once(id, name, json))
    }

    fn put_container_once(&self, id: &str, name: &str, json: &str) -> Result<()> {
        let db = self.db();
        let result = db
            .prepare_cached(
                "INSERT INTO containers (id, name, json) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, json = excluded.json",
            )?
            .execute(params![id, name, json]);
        match result {
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

    /// The record of the container with this whole id.
    ///
    /// # Errors
    /// Database errors.
    pub fn container(&self, id: &str) -> Result<Option<ContainerRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT id, name, json FROM containers WHERE id = ?1")?;
        Ok(stmt.query_row([id], read).optional()?)
    }

    /// The record of the container with this name.
    ///
    /// # Errors
    /// Database errors.
    pub fn container_by_name(&self, name: &str) -> Result<Option<ContainerRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT id, name, json FROM containers WHERE name = ?1")?;
        Ok(stmt.query_row([name], read).optional()?)
    }

    /// Every container.
    ///
    /// # Errors
    /// Database errors.
    pub fn containers(&self) -> Result<Vec<ContainerRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT id, name, json FROM containers ORDER BY id")?;
        let rows = stmt.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Removes a container's record; whether there was one.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_container(&self, id: &str) -> Result<bool> {
        self.making_room(|| {
            let db = self.db();
            Ok(db.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([id])? > 0)
        })
    }
}
