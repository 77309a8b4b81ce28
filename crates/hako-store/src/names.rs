//! The names that lead to images.
//!
//! A name that was pulled leads to what the registry answered, its target. If
//! that is an index, the name leads to every image of it that was pulled, at
//! most one for each platform:
//!
//! ```text
//! docker.io/library/x:1 ─► target sha256:index ─┬─► image for linux/amd64
//!                                               └─► image for linux/arm64
//! ```
//! Of these the one for this host goes first. Any other way of giving a name
//! (a tag, a build, a pull of something else) ends where it led before.

use crate::{NewRef, RefRow, Result, Store, images::digest};
use hako_model::{Digest, policy};
use rusqlite::{Connection, Row, Transaction, params};

/// What becomes of where else a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// It leads nowhere else.
    Go,
    /// Images of the same index for other platforms stay.
    OfTheIndexStay,
}

fn read(row: &Row<'_>) -> rusqlite::Result<RefRow> {
    let optional = |column: usize| -> rusqlite::Result<Option<Digest>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|t| t.parse().ok()))
    };
    Ok(RefRow { name: row.get(0)?, image: digest(row, 1)?, target: optional(2)?, manifest: optional(3)? })
}

/// Lets a name lead to an image.
pub(crate) fn write(tx: &Transaction<'_>, image: &Digest, new: &NewRef, others: Others) -> rusqlite::Result<()> {
    let target = new.target.as_ref().map(Digest::as_str);
    // Without a target nothing is of the same index.
    let index = target.filter(|_| others == Others::OfTheIndexStay);
    tx.prepare_cached(
        "DELETE FROM refs WHERE name = ?1 AND image <> ?2 AND (?3 IS NULL OR target IS NOT ?3 OR EXISTS (
             SELECT 1 FROM images AS old JOIN images AS new ON new.id = ?2
             WHERE old.id = refs.image AND old.os = new.os
                 AND old.architecture = new.architecture AND old.variant = new.variant))",
    )?
    .execute(params![new.name, image.as_str(), index])?;
    tx.prepare_cached(
        "INSERT INTO refs (name, image, target, manifest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name, image) DO UPDATE SET target = excluded.target, manifest = excluded.manifest",
    )?
    .execute(params![new.name, image.as_str(), target, new.manifest.as_ref().map(Digest::as_str)])?;
    tx.execute(
        "UPDATE images SET last_tagged = ?2, hidden = 0 WHERE id = ?1",
        params![image.as_str(), chrono::Utc::now().timestamp()],
    )?;
    Ok(())
}

fn named(db: &Connection, name: &str) -> rusqlite::Result<Vec<RefRow>> {
    let mut stmt = db.prepare_cached(
        "SELECT name, image, target, manifest FROM refs JOIN images ON images.id = refs.image WHERE name = ?1
         ORDER BY (os = 'linux' AND architecture = ?2) DESC, last_tagged DESC, image",
    )?;
    stmt.query_map(params![name, policy::native_arch()], read)?.collect()
}

impl Store {
    /// What the canonical name leads to: the image for this host, or else the
    /// one that was named last.
    ///
    /// # Errors
    /// Database errors.
    pub fn reference(&self, name: &str) -> Result<Option<RefRow>> {
        Ok(named(&self.db(), name)?.into_iter().next())
    }

    /// Every image that the canonical name leads to, in the order of
    /// [`Store::reference`].
    ///
    /// # Errors
    /// Database errors.
    pub fn references_named(&self, name: &str) -> Result<Vec<RefRow>> {
        Ok(named(&self.db(), name)?)
    }

    /// Every name, or those of one image, in the order of their text. A name
    /// that leads to several images is there once for each.
    ///
    /// # Errors
    /// Database errors.
    pub fn references(&self, image: Option<&Digest>) -> Result<Vec<RefRow>> {
        self.rows(
            "SELECT name, image, target, manifest FROM refs WHERE ?1 IS NULL OR image = ?1 ORDER BY name, image",
            [image.map(Digest::as_str)],
            read,
        )
    }

    /// Lets a name lead to an image, wherever it led before. Durable when this returns.
    ///
    /// # Errors
    /// Database errors, also where there is no such image.
    pub fn put_ref(&self, image: &Digest, new: &NewRef) -> Result<()> {
        self.put_refs(&[(image.clone(), new.clone())])
    }

    /// Lets a name, the same in every entry, lead to these images and to no
    /// others. Durable when this returns.
    ///
    /// # Errors
    /// Database errors, also where there is no such image.
    pub fn put_refs(&self, entries: &[(Digest, NewRef)]) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let mut others = Others::Go;
        for (image, new) in entries {
            write(&tx, image, new, others)?;
            others = Others::OfTheIndexStay;
        }
        Ok(tx.commit()?)
    }

    /// Removes names, wherever they lead; how many there were.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_refs(&self, names: &[String]) -> Result<usize> {
        self.making_room(|| self.delete_refs_once(names))
    }

    fn delete_refs_once(&self, names: &[String]) -> Result<usize> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let mut count = 0;
        for name in names {
            count += tx.execute("DELETE FROM refs WHERE name = ?1", [name])?;
        }
        tx.commit()?;
        Ok(count)
    }

    /// Removes names of one image; where they lead besides stays.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_refs_of(&self, image: &Digest, names: &[String]) -> Result<()> {
        self.making_room(|| self.delete_refs_of_once(image, names))
    }

    fn delete_refs_of_once(&self, image: &Digest, names: &[String]) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        for name in names {
            tx.execute("DELETE FROM refs WHERE name = ?1 AND image = ?2", [name.as_str(), image.as_str()])?;
        }
        Ok(tx.commit()?)
    }

    /// Manifests, indexes and other content that an image keeps, with their media types.
    ///
    /// # Errors
    /// Database errors.
    pub fn kept(&self, image: &Digest) -> Result<Vec<(Digest, String)>> {
        self.rows(
            "SELECT digest, media_type FROM image_blobs WHERE image = ?1 ORDER BY digest",
            [image.as_str()],
            |row| Ok((digest(row, 0)?, row.get(1)?)),
        )
    }

    /// Lets an image keep content (committed, and leased until now) and, all
    /// or nothing, gives it further names; one that was removed meanwhile gets
    /// no names, and is not shown again by them. Durable when this returns.
    ///
    /// # Errors
    /// Database errors, also where content is given and the image is no longer there.
    pub fn keep(&self, image: &Digest, blobs: &[(Digest, String)], names: &[NewRef]) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        for (digest, media_type) in blobs {
            tx.prepare_cached("INSERT OR IGNORE INTO image_blobs (image, digest, media_type) VALUES (?1, ?2, ?3)")?
                .execute(params![image.as_str(), digest.as_str(), media_type])?;
        }
        let is_listed: bool = tx.query_row(
            "SELECT EXISTS (SELECT 1 FROM images WHERE id = ?1 AND hidden = 0)",
            [image.as_str()],
            |row| row.get(0),
        )?;
        for new in names.iter().filter(|_| is_listed) {
            write(&tx, image, new, Others::OfTheIndexStay)?;
        }
        Ok(tx.commit()?)
    }
}
