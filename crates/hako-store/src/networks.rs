//! Networks, and what containers that run have of them.

use crate::{Error, Result, Store};
use rusqlite::{ErrorCode, params};

/// One network as the engine wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The engine's record.
    pub json: String,
}

/// What one container has of networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// The container's id.
    pub container: String,
    /// The engine's record.
    pub json: String,
    /// Each network's id, with an address in it.
    pub addresses: Vec<(String, String)>,
}

/// A constraint that a write ran into becomes `taken`.
fn unless(err: rusqlite::Error, taken: impl FnOnce() -> Error) -> Error {
    match err {
        rusqlite::Error::SqliteFailure(code, _) if code.code == ErrorCode::ConstraintViolation => taken(),
        err => err.into(),
    }
}

impl Store {
    /// Writes a network, new or changed. Durable before it returns.
    ///
    /// # Errors
    /// [`Error::NetworkNameTaken`].
    pub fn put_network(&self, row: &NetworkRow) -> Result<()> {
        let db = self.db();
        let written = db
            .prepare_cached(
                "INSERT INTO networks (id, name, json) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, json = excluded.json",
            )?
            .execute(params![row.id, row.name, row.json]);
        written.map(drop).map_err(|err| unless(err, || Error::NetworkNameTaken(row.name.clone())))
    }

    /// Removes a network; whether there was one.
    ///
    /// # Errors
    /// [`Error::NetworkInUse`] while an address of it is in use.
    pub fn delete_network(&self, id: &str) -> Result<bool> {
        let db = self.db();
        let deleted = db.prepare_cached("DELETE FROM networks WHERE id = ?1")?.execute([id]);
        deleted.map(|rows| rows > 0).map_err(|err| unless(err, || Error::NetworkInUse(id.to_owned())))
    }

    /// Every network.
    ///
    /// # Errors
    /// Database errors.
    pub fn networks(&self) -> Result<Vec<NetworkRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT id, name, json FROM networks ORDER BY id")?;
        let read = |row: &rusqlite::Row<'_>| Ok(NetworkRow { id: row.get(0)?, name: row.get(1)?, json: row.get(2)? });
        let rows = stmt.query_map([], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Writes what a container has, in the place of what it had. Durable before it returns.
    ///
    /// # Errors
    /// [`Error::AddressTaken`], and then nothing is changed.
    pub fn put_sandbox(&self, row: &SandboxRow) -> Result<()> {
        // What has ended has ended, on a full disk too.
        self.making_room(|| self.put_sandbox_once(row))
    }

    fn put_sandbox_once(&self, row: &SandboxRow) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.prepare_cached(
            "INSERT INTO sandboxes (container, json) VALUES (?1, ?2)
             ON CONFLICT (container) DO UPDATE SET json = excluded.json",
        )?
        .execute(params![row.container, row.json])?;
        tx.prepare_cached("DELETE FROM addresses WHERE container = ?1")?.execute([&row.container])?;
        for (network, address) in &row.addresses {
            tx.prepare_cached("INSERT INTO addresses (network, address, container) VALUES (?1, ?2, ?3)")?
                .execute(params![network, address, row.container])
                .map_err(|err| unless(err, || Error::AddressTaken))?;
        }
        Ok(tx.commit()?)
    }

    /// Removes what a container had; whether there was something.
    ///
    /// # Errors
    /// Database errors.
    pub fn delete_sandbox(&self, container: &str) -> Result<bool> {
        self.making_room(|| {
            let db = self.db();
            Ok(db.prepare_cached("DELETE FROM sandboxes WHERE container = ?1")?.execute([container])? > 0)
        })
    }

    /// What every container has.
    ///
    /// # Errors
    /// Database errors.
    pub fn sandboxes(&self) -> Result<Vec<SandboxRow>> {
        let db = self.db();
        let mut stmt = db.prepare_cached("SELECT container, json FROM sandboxes ORDER BY container")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(SandboxRow { container: row.get(0)?, json: row.get(1)?, addresses: Vec::new() })
        };
        let mut rows = stmt.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut stmt = db.prepare_cached("SELECT network, address FROM addresses WHERE container = ?1")?;
        for row in &mut rows {
            let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            row.addresses = stmt.query_map([&row.container], pair)?.collect::<rusqlite::Result<_>>()?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str, name: &str) -> NetworkRow {
        NetworkRow { id: id.into(), name: name.into(), json: "{}".into() }
    }

    fn sandbox(container: &str, addresses: &[(&str, &str)]) -> SandboxRow {
        let addresses = addresses.iter().map(|(net, ip)| ((*net).to_owned(), (*ip).to_owned())).collect();
        SandboxRow { container: container.into(), json: "{}".into(), addresses }
    }

    #[test]
    fn an_address_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_network(&network("1", "a")).unwrap();
        store.put_network(&network("2", "b")).unwrap();
        store.put_sandbox(&sandbox("x", &[("1", "10.0.0.2")])).unwrap();
        let err = store.put_sandbox(&sandbox("y", &[("2", "10.0.0.2"), ("1", "10.0.0.2")])).unwrap_err();
        assert!(matches!(err, Error::AddressTaken), "{err}");
        assert_eq!(store.sandboxes().unwrap(), [sandbox("x", &[("1", "10.0.0.2")])], "all or nothing");
        // The same address in another network is another's.
        store.put_sandbox(&sandbox("y", &[("2", "10.0.0.2")])).unwrap();
        assert!(matches!(store.delete_network("1").unwrap_err(), Error::NetworkInUse(_)));
        assert!(store.delete_sandbox("x").unwrap() && !store.delete_sandbox("x").unwrap());
        assert!(store.delete_network("1").unwrap() && !store.delete_network("1").unwrap());
        store.put_sandbox(&sandbox("y", &[])).unwrap();
        assert!(store.delete_network("2").unwrap());
    }

    #[test]
    fn names_are_unique() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_network(&network("1", "a")).unwrap();
        let err = store.put_network(&network("2", "a")).unwrap_err();
        assert_eq!(err.to_string(), "network with name a already exists");
        store.put_network(&network("1", "c")).unwrap();
        store.put_network(&network("2", "a")).unwrap();
        assert_eq!(store.networks().unwrap(), [network("1", "c"), network("2", "a")]);
    }
}
