//! Containers: the index of all of them, and one file for each verb.

mod actor;
pub mod archive;
pub mod attach;
pub mod commit;
pub mod create;
pub mod diff;
mod end;
pub mod export;
pub mod files;
pub mod health;
pub mod inspect;
pub mod kill;
pub mod life;
pub mod list;
pub mod logs;
mod merge;
mod mounts;
mod names;
mod network;
pub mod pause;
mod platform;
pub mod policy;
pub mod prune;
pub mod record;
pub mod recover;
pub mod remains;
pub mod remove;
pub mod rename;
mod request;
pub mod resize;
pub mod restart;
mod selection;
pub mod settings;
mod shown;
pub mod start;
pub mod state;
pub mod stats;
pub mod step;
pub mod stop;
pub mod top;
pub mod update;
mod view;
pub mod vm;
pub mod wait;

pub use actor::{Container, View, emit};
pub use network::{ask_connect as connect, ask_disconnect as disconnect};
pub use selection::Pattern;
pub use settings::capabilities;
pub use start::classify;

use hako_model::{Error, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Every container, by id and by name. A name is reserved before its container
/// is there, so that two creates cannot both get it.
#[derive(Default)]
pub struct Containers(RwLock<Index>);

#[derive(Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Container>>,
    names: BTreeMap<String, String>,
}

impl Containers {
    /// Takes `name` for `id`.
    ///
    /// # Errors
    /// Docker's words where the name is taken.
    pub fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = index.names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        index.names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives a name back.
    pub fn release(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).names.remove(name);
    }

    /// Adds a container whose name is reserved.
    pub fn insert(&self, container: Arc<Container>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.by_id.insert(container.id.to_string(), container);
    }

    /// Forgets a container and its name.
    pub fn forget(&self, id: &str, name: &str) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.by_id.remove(id);
        index.names.remove(name);
    }

    /// The container that a client calls `name`: a whole id, a name, or the
    /// beginning of an id that is no other's.
    ///
    /// # Errors
    /// `No such container: …`, or that the beginning fits several.
    pub fn find(&self, name: &str) -> Result<Arc<Container>> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::not_found(format!("No such container: {name}"));
        if let Some(found) = index.by_id.get(name) {
            return Ok(found.clone());
        }
        let bare = name.strip_prefix('/').unwrap_or(name);
        if let Some(id) = index.names.get(bare) {
            return index.by_id.get(id).cloned().ok_or_else(missing);
        }
        if name.is_empty() || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(missing());
        }
        let mut fitting = index.by_id.range(name.to_owned()..).take_while(|(id, _)| id.starts_with(name));
        match (fitting.next(), fitting.next()) {
            (Some((_, found)), None) => Ok(found.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {name}"))),
            (None, _) => Err(missing()),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect()
    }

    /// How many run, are paused, are stopped.
    pub fn count(&self) -> (i64, i64, i64) {
        let mut counts = (0, 0, 0);
        for container in self.all() {
            match container.view().record.state.word() {
                "running" => counts.0 += 1,
                "paused" => counts.1 += 1,
                _ => counts.2 += 1,
            }
        }
        counts
    }
}
