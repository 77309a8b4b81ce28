//! What builds keep: the build cache, and the containers of builds that run.
//!
//! A step of the cache is an image. One that nothing but the cache needs is in
//! no list of images; a name, or being a build's result, makes it visible, and
//! removing it makes it the cache's alone again.

use crate::{NewImage, Result, Store, gc::or_later, images};
use hako_model::Digest;
use rusqlite::{Row, params};

/// A step of the build cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The digest of the parent's id and the instruction.
    pub key: String,
    /// The image that it came to.
    pub image: Digest,
    /// The image below, or nothing.
    pub parent: String,
    /// Docker's kind of record: `regular`, `source.local`, `exec.cachemount`.
    pub kind: String,
    /// What made it.
    pub description: String,
    /// Bytes of the layer that it added.
    pub size: u64,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it was last used.
    pub used: i64,
    /// How often.
    pub uses: u64,
    /// The image is also there for itself.
    pub shown: bool,
    /// An image that is there for itself has the layer too.
    pub shared: bool,
}

/// A step to be written.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// As [`StepRow::key`].
    pub key: String,
    /// As [`StepRow::parent`].
    pub parent: String,
    /// As [`StepRow::kind`].
    pub kind: String,
    /// As [`StepRow::description`].
    pub description: String,
    /// As [`StepRow::size`].
    pub size: u64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        key: row.get(0)?,
        image: images::digest(row, 1)?,
        parent: row.get(2)?,
        kind: row.get(3)?,
        description: row.get(4)?,
        size: row.get(5)?,
        created: row.get(6)?,
        used: row.get(7)?,
        uses: row.get(8)?,
        shown: row.get(9)?,
        shared: row.get(10)?,
    })
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

impl Store {
    /// Writes what a step has come to, in place of what it came to before:
    /// image, layers and step at once, durable when this returns. The image is
    /// in no list, unless it is there already.
    ///
    /// # Errors
    /// Database errors, also where a layer is not committed.
    pub fn put_step(&self, image: &NewImage, step: &NewStep) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        images::write_image(&tx, image, 2)?;
        tx.prepare_cached(
            "INSERT OR REPLACE INTO build_steps (key, image, parent, kind, description, size, created, used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .execute(params![
            step.key,
            image.id.as_str(),
            step.parent,
            step.kind,
            step.description,
            step.size,
            now()
        ])?;
        Ok(tx.commit()?)
    }

    /// The image that the step `key` came to.
    ///
    /// # Errors
    /// Database errors.
    pub fn step(&self, key: &str) -> Result<Option<Digest>> {
        self.row("SELECT image FROM build_steps WHERE key = ?1", [key], |row| images::digest(row, 0))
    }

    /// Notes that steps were used.
    ///
    /// # Errors
    /// Database errors.
    pub fn steps_used(&self, keys: &[String]) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        for key in keys {
            tx.prepare_cached("UPDATE build_steps SET used = ?2, uses = uses + 1 WHERE key = ?1")?
                .execute(params![key, now()])?;
        }
        Ok(tx.commit()?)
    }

    /// Every step, the one used longest ago first.
    ///
    /// # Errors
    /// Database errors.
    pub fn steps(&self) -> Result<Vec<StepRow>> {
        self.rows(
            "SELECT s.key, s.image, s.parent, s.kind, s.description, s.size, s.created, s.used, s.uses, i.hidden = 0,
                 EXISTS (SELECT 1 FROM image_layers l JOIN images v ON v.id = l.image AND v.hidden = 0
                         WHERE l.chain = (SELECT chain FROM image_layers t WHERE t.image = s.image
                                          ORDER BY position DESC LIMIT 1))
             FROM build_steps s JOIN images i ON i.id = s.image ORDER BY s.used, s.created, s.key",
            [],
            read,
        )
    }

    /// Forgets steps, and then removes what only they needed.
    ///
    /// # Errors
    /// Database and I/O errors.
    pub fn delete_steps(&self, keys: &[String]) -> Result<()> {
        self.making_room(|| {
            let mut db = self.db();
            let tx = db.transaction()?;
            for key in keys {
                tx.execute("DELETE FROM build_steps WHERE key = ?1", [key])?;
            }
            Ok(tx.commit()?)
        })?;
        or_later(self.drop_unused_steps())?;
        or_later(self.collect())?;
        Ok(())
    }

    /// Whether somebody holds a lease on it.
    #[must_use]
    pub fn is_held(&self, digest: &Digest) -> bool {
        self.0.leases.freeze().contains_key(digest.as_str())
    }

    /// Removes images that were steps and are none any more, unless a build
    /// that runs stands on them or a container is of them.
    ///
    /// # Errors
    /// Database errors.
    pub fn drop_unused_steps(&self) -> Result<usize> {
        self.making_room(|| self.drop_unused_steps_once())
    }

    pub(crate) fn drop_unused_steps_once(&self) -> Result<usize> {
        let leases = self.0.leases.freeze();
        let mut db = self.db();
        let tx = db.transaction()?;
        let unused: Vec<String> = tx
            .prepare(
                "SELECT id FROM images WHERE hidden = 2 AND id NOT IN (SELECT image FROM build_steps)
                 AND id NOT IN (SELECT image FROM containers)",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut gone = 0;
        for id in unused.iter().filter(|id| !leases.contains_key(*id)) {
            gone += tx.execute("DELETE FROM images WHERE id = ?1", [id])?;
        }
        tx.commit()?;
        Ok(gone)
    }

    /// Notes a build's container, before it is made.
    ///
    /// # Errors
    /// Database errors.
    pub fn put_build_container(&self, id: &str) -> Result<()> {
        self.db().execute("INSERT OR IGNORE INTO build_containers (id) VALUES (?1)", [id])?;
        Ok(())
    }

    /// The container is gone, or is to be kept.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_build_container(&self, id: &str) -> Result<()> {
        self.making_room(|| {
            self.db().execute("DELETE FROM build_containers WHERE id = ?1", [id])?;
            Ok(())
        })
    }

    /// Containers of builds.
    ///
    /// # Errors
    /// Database errors.
    pub fn build_containers(&self) -> Result<Vec<String>> {
        self.rows("SELECT id FROM build_containers", [], |row| row.get(0))
    }
}
