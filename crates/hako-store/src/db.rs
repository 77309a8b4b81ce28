//! The database: its tables, and how it is opened.

use crate::{Error, Result, Store};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row};
use std::path::Path;

/// Each step brings the database from the format before it to its own. Never
/// change one that has been released; add the next.
const STEPS: &[&str] = &[
    "
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL
) STRICT;
-- One row for each unpacked layer; it exists only once the folder is durable.
CREATE TABLE layers (
    chain TEXT PRIMARY KEY,
    n INTEGER NOT NULL UNIQUE,
    diff TEXT NOT NULL,
    parent TEXT,
    size INTEGER NOT NULL,
    blob TEXT,            -- the archive that it was unpacked from, kept for push and save
    media_type TEXT
) STRICT;
CREATE TABLE images (
    id TEXT PRIMARY KEY,  -- the digest of its config
    size INTEGER NOT NULL,
    created TEXT,
    os TEXT NOT NULL,
    architecture TEXT NOT NULL,
    variant TEXT NOT NULL,
    -- 1: removed by a client while containers still need its layers.
    -- 2: a step of the build cache and nothing else.
    hidden INTEGER NOT NULL DEFAULT 0,
    last_tagged INTEGER   -- seconds since 1970
) STRICT;
CREATE TABLE image_layers (
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    chain TEXT NOT NULL REFERENCES layers(chain),
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_chain ON image_layers(chain);
-- Content that an image keeps besides its config: manifests and indexes.
CREATE TABLE image_blobs (
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (image, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE refs (
    name TEXT PRIMARY KEY,  -- canonical: docker.io/library/x:tag or …@sha256:…
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    target TEXT,            -- what the registry answered: a manifest's or an index's digest
    manifest TEXT,          -- the manifest for this platform
    platform TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE INDEX refs_image ON refs(image);
",
    "
-- A name leads to one image for each platform that was pulled of its index.
CREATE TABLE names (
    name TEXT NOT NULL,     -- canonical: docker.io/library/x:tag or …@sha256:…
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    target TEXT,            -- what the registry answered: a manifest's or an index's digest
    manifest TEXT,          -- the manifest for the image's platform
    PRIMARY KEY (name, image)
) STRICT, WITHOUT ROWID;
INSERT INTO names (name, image, target, manifest) SELECT name, image, target, manifest FROM refs;
DROP TABLE refs;
ALTER TABLE names RENAME TO refs;
CREATE INDEX refs_image ON refs(image);
",
    "
-- What a build step came to: found by its parent and its instruction. An image
-- that only this table needs has hidden = 2.
CREATE TABLE build_steps (
    key TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    parent TEXT NOT NULL,     -- the image below, or nothing
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    size INTEGER NOT NULL,    -- bytes of the layer that it added
    created INTEGER NOT NULL, -- seconds since 1970
    used INTEGER NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX build_steps_image ON build_steps(image);
-- Containers of builds that are under way: what is here at a start was left by
-- an engine that was killed.
CREATE TABLE build_containers (
    id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
",
    "
-- A volume's files are in volumes/<name>/_data.
CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    json TEXT NOT NULL,
    -- The container that it is being made for: with its record this becomes NULL.
    -- What has none at a start was left by an engine that was killed.
    maker TEXT,
    -- 1: it is being removed, and nobody sees it any more.
    gone INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
",
    "
-- The image that a container is of, so that one statement sees both.
ALTER TABLE containers ADD COLUMN image TEXT NOT NULL DEFAULT '';
UPDATE containers SET image = coalesce(json ->> '$.image_id', '') WHERE json_valid(json);
CREATE INDEX containers_image ON containers(image);
",
    "
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- What a container that runs, or is being started, has of the host's network:
-- here before it is made, and until it is gone.
CREATE TABLE sandboxes (
    container TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- No address is given twice, and no network goes while a container is on it.
CREATE TABLE addresses (
    network TEXT NOT NULL REFERENCES networks(id),
    address TEXT NOT NULL,
    container TEXT NOT NULL REFERENCES sandboxes(container) ON DELETE CASCADE,
    PRIMARY KEY (network, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_container ON addresses(container);
",
];

/// The database's file in the data root.
pub(crate) const FILE: &str = "hako.db";

/// Opens the database and brings it to the newest format.
pub(crate) fn open(path: &Path) -> Result<Connection> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // FULL makes every commit durable before it returns; NORMAL would not in WAL mode.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.set_prepared_statement_cache_capacity(64);
    let (found, known) = formats(&db)?;
    if found > known {
        return Err(Error::Format { found, known });
    }
    if found == known {
        // Nothing is written, so that a full disk can be opened.
        return Ok(db);
    }
    let tx = db.transaction()?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", known)?;
    tx.commit()?;
    Ok(db)
}

/// Opens a database to look at it. Only what the last engine committed may
/// still come from its log into its file, as at any opening.
pub(crate) fn open_to_check(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.pragma_update(None, "query_only", "ON")?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    match formats(&db)? {
        (found, known) if found == known => Ok(db),
        (found, known) => Err(Error::Format { found, known }),
    }
}

/// The format of the database, and the newest that is known here.
fn formats(db: &Connection) -> Result<(i64, i64)> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    Ok((db.pragma_query_value(None, "user_version", |row| row.get(0))?, known))
}

impl Store {
    /// What a query answers, each row by `read`.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        args: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let db = self.db();
        let mut stmt = db.prepare_cached(sql)?;
        let rows = stmt.query_map(args, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The first row of a query's answer, if it has any.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        args: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.db().prepare_cached(sql)?.query_row(args, read).optional()?)
    }

    /// Does `work`, whose commits are not waited for: in WAL mode they are in
    /// order and whole all the same, and the next that is waited for takes
    /// them with it.
    pub(crate) fn soon<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let db = self.db();
        db.pragma_update(None, "synchronous", "NORMAL")?;
        let done = work(&db);
        // Whatever has become of it: what comes after is waited for again.
        let restored = db.pragma_update(None, "synchronous", "FULL");
        let done = done?;
        restored?;
        Ok(done)
    }
}
