//! Images. What leads to them is in [`crate::names`].

use crate::{
    Result, Store,
    gc::or_later,
    names::{self, Others},
};
use hako_model::Digest;
use rusqlite::{OptionalExtension, Row, Transaction, params, types::Type};

/// An image.
#[derive(Debug, Clone)]
pub struct ImageRow {
    /// The digest of its config, which is its id.
    pub id: Digest,
    /// Bytes of its layers' files.
    pub size: u64,
    /// When it was made, as its config says.
    pub created: Option<String>,
    /// `linux`.
    pub os: String,
    /// As Go names it: `amd64`.
    pub architecture: String,
    /// `v8` and the like, or empty.
    pub variant: String,
    /// Removed by a client while containers still need its layers.
    pub hidden: bool,
    /// When a name last came to it, seconds since 1970.
    pub last_tagged: Option<i64>,
}

/// A name and what it leads to.
#[derive(Debug, Clone)]
pub struct RefRow {
    /// Canonical: `docker.io/library/x:tag` or `docker.io/library/x@sha256:…`.
    pub name: String,
    /// The image.
    pub image: Digest,
    /// What the registry answered: the digest of a manifest or an index.
    pub target: Option<Digest>,
    /// The digest of this platform's manifest.
    pub manifest: Option<Digest>,
}

/// A name to be written.
#[derive(Debug, Clone)]
pub struct NewRef {
    /// As [`RefRow::name`].
    pub name: String,
    /// As [`RefRow::target`].
    pub target: Option<Digest>,
    /// As [`RefRow::manifest`].
    pub manifest: Option<Digest>,
}

/// An image to be written, with every layer already committed.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The digest of its config, whose blob is committed.
    pub id: Digest,
    /// Bytes of its layers' files.
    pub size: u64,
    /// When it was made, as its config says.
    pub created: Option<String>,
    /// `linux`.
    pub os: String,
    /// As Go names it.
    pub architecture: String,
    /// `v8` and the like, or empty.
    pub variant: String,
    /// Chain ids, bottom first.
    pub chains: Vec<Digest>,
    /// Manifests and indexes that it keeps, with their media types.
    pub blobs: Vec<(Digest, String)>,
    /// Names that lead to it from now on.
    pub refs: Vec<NewRef>,
}

/// What became of an image that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, and the layers with these chain ids.
    Gone(Vec<Digest>),
    /// It is in no list any more, and goes with its last container.
    Hidden,
    /// It stays by a name that was none of those which went.
    Named,
    /// It stays, with all its names, for the container with this id.
    InUse(String),
}

const COLUMNS: &str = "id, size, created, os, architecture, variant, hidden, last_tagged";

/// A digest that this store wrote.
pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|err| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(err)))
}

fn read_image(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: digest(row, 0)?,
        size: row.get(1)?,
        created: row.get(2)?,
        os: row.get(3)?,
        architecture: row.get(4)?,
        variant: row.get(5)?,
        hidden: row.get(6)?,
        last_tagged: row.get(7)?,
    })
}

/// Writes an image and its layers; one that is there already becomes visible
/// where the new one is.
pub(crate) fn write_image(tx: &Transaction<'_>, new: &NewImage, hidden: i64) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO images (id, size, created, os, architecture, variant, hidden) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET hidden = min(hidden, excluded.hidden)",
        params![new.id.as_str(), new.size, new.created, new.os, new.architecture, new.variant, hidden],
    )?;
    for (position, chain) in new.chains.iter().enumerate() {
        tx.prepare_cached("INSERT OR IGNORE INTO image_layers (image, position, chain) VALUES (?1, ?2, ?3)")?
            .execute(params![new.id.as_str(), i64::try_from(position).unwrap_or(i64::MAX), chain.as_str()])?;
    }
    Ok(())
}

impl Store {
    /// Makes an image visible: its row, its layers, what it keeps and its
    /// names, all or nothing, durable when this returns. An image that exists
    /// gains what is new. Where a name already leads to other images by the
    /// same index, it leads to them as well from now on ([`crate::names`]).
    ///
    /// # Errors
    /// Database errors, also where a layer is not committed.
    pub fn put_image(&self, new: &NewImage) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        write_image(&tx, new, 0)?;
        for (digest, media_type) in &new.blobs {
            tx.prepare_cached("INSERT OR IGNORE INTO image_blobs (image, digest, media_type) VALUES (?1, ?2, ?3)")?
                .execute(params![new.id.as_str(), digest.as_str(), media_type])?;
        }
        for new_ref in &new.refs {
            names::write(&tx, &new.id, new_ref, Others::OfTheIndexStay)?;
        }
        Ok(tx.commit()?)
    }

    /// Shows an image that was hidden, and lets names lead to it, all at once.
    ///
    /// # Errors
    /// Database errors, also where there is no such image.
    pub fn show_image(&self, id: &Digest, refs: &[NewRef]) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        if tx.execute("UPDATE images SET hidden = 0 WHERE id = ?1", [id.as_str()])? == 0 {
            return Err(crate::Error::NotFound(format!("image {id}")));
        }
        for new_ref in refs {
            names::write(&tx, id, new_ref, Others::OfTheIndexStay)?;
        }
        Ok(tx.commit()?)
    }

    /// The image with this id, hidden or not.
    ///
    /// # Errors
    /// Database errors.
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRow>> {
        self.row(&format!("SELECT {COLUMNS} FROM images WHERE id = ?1"), [id.as_str()], read_image)
    }

    /// Every image that is not hidden.
    ///
    /// # Errors
    /// Database errors.
    pub fn images(&self) -> Result<Vec<ImageRow>> {
        self.images_where("hidden = 0", &[])
    }

    /// Every image that was removed while containers needed it.
    ///
    /// # Errors
    /// Database errors.
    pub fn hidden_images(&self) -> Result<Vec<ImageRow>> {
        self.images_where("hidden = 1", &[])
    }

    /// Every image that is a step of the build cache and nothing else.
    ///
    /// # Errors
    /// Database errors.
    pub fn step_images(&self) -> Result<Vec<ImageRow>> {
        self.images_where("hidden = 2", &[])
    }

    /// Up to two images whose ids begin with these hexadecimal digits.
    ///
    /// # Errors
    /// Database errors.
    pub fn images_by_prefix(&self, hex: &str) -> Result<Vec<ImageRow>> {
        // A range, not LIKE: the text is a client's. ":" sorts after every digit, "g" after "f".
        let low = format!("sha256:{hex}");
        let high = format!("{low}g");
        self.images_where("hidden = 0 AND id >= ?1 AND id < ?2 LIMIT 2", &[&low, &high])
    }

    fn images_where(&self, condition: &str, args: &[&dyn rusqlite::ToSql]) -> Result<Vec<ImageRow>> {
        self.rows(&format!("SELECT {COLUMNS} FROM images WHERE {condition}"), args, read_image)
    }

    /// Removes an image with all its names, durably, and then what only it
    /// used. The answer is the chain ids of layers that went with it. An image
    /// that is a step of the build cache stays as that alone.
    ///
    /// # Errors
    /// Database and I/O errors; after an I/O error the image is gone and the
    /// rest is removed at the next open.
    pub fn delete_image(&self, id: &Digest) -> Result<Vec<Digest>> {
        self.making_room(|| {
            let mut db = self.db();
            let tx = db.transaction()?;
            tx.execute("DELETE FROM refs WHERE image = ?1", [id.as_str()])?;
            end(&tx, id)?;
            Ok(tx.commit()?)
        })?;
        self.collect()
    }

    /// Removes these names of an image, and the image as [`Store::delete_image`]
    /// does; by force also one that containers need, which is only hidden then.
    ///
    /// # Errors
    /// As [`Store::delete_image`].
    pub fn remove_image(&self, id: &Digest, names: &[String], force: bool) -> Result<Removal> {
        match self.making_room(|| self.remove_image_once(id, names, force))? {
            Removal::Gone(_) => Ok(Removal::Gone(or_later(self.collect())?.unwrap_or_default())),
            other => Ok(other),
        }
    }

    fn remove_image_once(&self, id: &Digest, names: &[String], force: bool) -> Result<Removal> {
        let mut db = self.db();
        let tx = db.transaction()?;
        for name in names {
            tx.execute("DELETE FROM refs WHERE name = ?1 AND image = ?2", [name.as_str(), id.as_str()])?;
        }
        let is_named: bool =
            tx.query_row("SELECT EXISTS (SELECT 1 FROM refs WHERE image = ?1)", [id.as_str()], |row| row.get(0))?;
        let user: Option<String> = tx
            .query_row("SELECT id FROM containers WHERE image = ?1 ORDER BY id LIMIT 1", [id.as_str()], |row| {
                row.get(0)
            })
            .optional()?;
        let removal = match user {
            _ if is_named => Removal::Named,
            // Dropped, the transaction changes nothing.
            Some(user) if !force => return Ok(Removal::InUse(user)),
            Some(_) => {
                tx.execute("UPDATE images SET hidden = 1 WHERE id = ?1", [id.as_str()])?;
                Removal::Hidden
            }
            None => {
                end(&tx, id)?;
                Removal::Gone(Vec::new())
            }
        };
        tx.commit()?;
        Ok(removal)
    }

    /// At open: ends images that were hidden for containers which are gone. The
    /// engine was killed between the removal of the last one and that of its image.
    pub(crate) fn end_hidden(&self) -> Result<()> {
        let unneeded = self.images_where("hidden = 1 AND id NOT IN (SELECT image FROM containers)", &[])?;
        if unneeded.is_empty() {
            return Ok(());
        }
        let mut db = self.db();
        let tx = db.transaction()?;
        for image in &unneeded {
            end(&tx, &image.id)?;
        }
        Ok(tx.commit()?)
    }
}

/// Removes an image's row; one that is a step of the build cache becomes that alone.
fn end(tx: &Transaction<'_>, id: &Digest) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE images SET hidden = 2 WHERE id = ?1 AND EXISTS (SELECT 1 FROM build_steps WHERE image = ?1)",
        [id.as_str()],
    )?;
    tx.execute(
        "DELETE FROM images WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM build_steps WHERE image = ?1)",
        [id.as_str()],
    )?;
    Ok(())
}
