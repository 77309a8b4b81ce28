//! Volumes: folders of the host that outlive their containers.
//!
//! ```text
//! <data-root>/volumes/<name>/_data ──► a bind mount of each container that has it
//! ```
//!
//! A container's record names its volumes: who uses one is read from there, and
//! a container that is being created holds its volumes meanwhile ([`Held`]).
//! Everything that changes one volume happens under its lock.
//!
//! A volume with a device is mounted on its folder, on the host, as long as a
//! container that runs has it ([`mount`]).

mod api;
pub mod mount;
mod options;
mod populate;
mod prune;
mod usage;

pub use api::{create, inspect, list, remove};
pub use populate::populate;
pub use prune::prune;
pub use usage::usage;

use crate::{Engine, containers::record::Record, events::Events};
use hako_api::{time, types::Volume};
use hako_model::{Error, ErrorKind, Result};
use hako_store::{KeyGuard, Store, VolumeRow};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The one driver.
pub const DRIVER: &str = "local";
/// The label of a volume that nobody has named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// Words with values, as a request has them: none at all, or some.
type Pairs = Option<BTreeMap<String, String>>;

/// What is kept of a volume besides its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    created: String,
    labels: Pairs,
    options: Pairs,
}

/// A volume that exists.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: String,
    about: About,
}

impl Found {
    fn read(row: VolumeRow) -> Result<Self> {
        let about = serde_json::from_str(&row.json)
            .map_err(|err| Error::internal(format!("record of volume {}: {err}", row.name)))?;
        Ok(Self { name: row.name, about })
    }

    /// As clients see it.
    fn shown(&self, store: &Store) -> Volume {
        let created = time::parse(&self.about.created).unwrap_or_default();
        Volume {
            created_at: created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            driver: DRIVER.to_owned(),
            labels: self.about.labels.clone(),
            mountpoint: store.volume_data(&self.name).display().to_string(),
            name: self.name.clone(),
            options: self.about.options.clone(),
            scope: "local".to_owned(),
            usage_data: None,
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.about.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn option(&self, key: &str) -> &str {
        self.about.options.as_ref().and_then(|options| options.get(key)).map_or("", String::as_str)
    }
}

/// A volume to be made, or to be found.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Empty for one of the engine's choice.
    pub name: String,
    /// Empty for the only one.
    pub driver: String,
    /// What the driver is told.
    pub options: Pairs,
    /// Labels.
    pub labels: Pairs,
}

/// What the engine knows of volumes beyond the store.
#[derive(Default)]
pub struct Volumes {
    /// Volumes of containers that are being created, with their ids.
    held: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Volumes with a device that are mounted, with the containers that run with them.
    mounted: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

/// Keeps volumes for a container until its record names them.
pub struct Held {
    engine: Arc<Engine>,
    container: String,
    names: BTreeSet<String>,
    /// Made for it, and nobody else's.
    anonymous: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Nothing yet, for `container`.
    pub fn new(engine: &Arc<Engine>, container: &str) -> Self {
        Self { engine: engine.clone(), container: container.to_owned(), names: BTreeSet::new(), anonymous: Vec::new() }
    }

    /// Finds or makes a volume and holds it.
    ///
    /// # Errors
    /// As [`make`].
    pub async fn take(&mut self, asked: Asked) -> Result<Found> {
        let is_anonymous = asked.name.is_empty();
        let engine = self.engine.clone();
        let found = make(&engine, asked, Some(self)).await?;
        if is_anonymous {
            self.anonymous.push(found.name.clone());
        }
        Ok(found)
    }

    /// Holds a volume that is there.
    ///
    /// # Errors
    /// As [`find`].
    pub async fn keep(&mut self, name: &str) -> Result<()> {
        let engine = self.engine.clone();
        let _lock = locked(&engine, name).await;
        find(&engine, name).await?;
        self.hold(name);
        Ok(())
    }

    fn hold(&mut self, name: &str) {
        lock(&self.engine.volumes.held).entry(name.to_owned()).or_default().insert(self.container.clone());
        self.names.insert(name.to_owned());
    }

    /// The container is there, and durable.
    ///
    /// # Errors
    /// The store's.
    pub async fn claim(&self) -> Result<()> {
        if self.anonymous.is_empty() {
            return Ok(());
        }
        let id = self.container.clone();
        blocking(&self.engine.store, move |store| Ok(store.claim_volumes(&id)?)).await
    }

    /// There will be no container: what was made for it goes.
    pub async fn undo(mut self) {
        let (engine, names) = (self.engine.clone(), std::mem::take(&mut self.anonymous));
        drop(self);
        for name in names {
            if let Err(err) = delete(&engine, &name, "").await {
                tracing::warn!("{err}");
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.engine.volumes.held);
        for name in &self.names {
            if let Some(holders) = held.get_mut(name) {
                holders.remove(&self.container);
                if holders.is_empty() {
                    held.remove(name);
                }
            }
        }
    }
}

/// On a blocking thread.
async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
) -> Result<T> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|err| Err(Error::internal(err.to_string())))
}

async fn locked(engine: &Engine, name: &str) -> KeyGuard {
    engine.store.lock(&format!("volume:{name}")).await
}

/// The volume `name`.
///
/// # Errors
/// `get <name>: no such volume`.
pub async fn find(engine: &Engine, name: &str) -> Result<Found> {
    let wanted = name.to_owned();
    let row = blocking(&engine.store, move |store| Ok(store.volume(&wanted)?)).await?;
    row.map_or_else(|| Err(Error::not_found(format!("get {name}: no such volume"))), Found::read)
}

/// Every volume, by name.
async fn all(engine: &Engine) -> Result<Vec<Found>> {
    let rows = blocking(&engine.store, |store| Ok(store.volumes()?)).await?;
    rows.into_iter().map(Found::read).collect()
}

/// Finds or makes a volume; one that is there stays as it is, whatever else is
/// asked for.
///
/// # Errors
/// Docker's words for what is wrong with it.
async fn make(engine: &Engine, mut asked: Asked, held: Option<&mut Held>) -> Result<Found> {
    if asked.name.is_empty() {
        asked.name = random_name();
        asked.labels.get_or_insert_default().insert(ANONYMOUS.to_owned(), String::new());
    }
    let name = asked.name.clone();
    let context = |err: Error| err.context(format!("create {name}"));
    options::check_driver(&asked.driver).map_err(context)?;
    options::check_name(&asked.name).map_err(context)?;
    let _lock = locked(engine, &name).await;
    let maker = held.as_ref().map(|held| held.container.clone());
    if let Some(held) = held {
        held.hold(&name);
    }
    match find(engine, &name).await {
        Err(err) if err.kind == ErrorKind::NotFound => {}
        other => return other,
    }
    options::check(asked.options.as_ref()).map_err(context)?;
    let found = Found {
        name: name.clone(),
        about: About { created: time::now(), labels: asked.labels, options: asked.options },
    };
    let json = serde_json::to_string(&found.about).map_err(|err| Error::internal(err.to_string()))?;
    let row = VolumeRow { name: name.clone(), json };
    // A named one that nobody uses in the end is as good as one that was made by hand.
    let maker = maker.filter(|_| found.label(ANONYMOUS).is_some());
    blocking(&engine.store, move |store| Ok(store.put_volume(&row, maker.as_deref())?)).await.map_err(context)?;
    emit(&engine.events, &name, "create", &[]);
    Ok(found)
}

fn random_name() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// The ids of the containers that have the volume.
fn references(engine: &Engine, name: &str) -> BTreeSet<String> {
    let mut users: BTreeSet<String> = lock(&engine.volumes.held).get(name).cloned().unwrap_or_default();
    for container in engine.containers.all() {
        let view = container.view();
        if !view.removed && names_of(&view.record).any(|volume| volume == name) {
            users.insert(container.id.to_string());
        }
    }
    users
}

/// The volumes of a container, each as often as it is mounted.
pub fn names_of(record: &Record) -> impl Iterator<Item = &str> {
    record.mounts.iter().filter_map(|mount| mount.volume())
}

/// Removes a volume that nobody uses, or only the container `except`.
///
/// # Errors
/// Docker's words where it is in use; the store's.
async fn delete(engine: &Engine, name: &str, except: &str) -> Result<()> {
    let _lock = locked(engine, name).await;
    let context = |err: Error| err.context(format!("remove {name}"));
    find(engine, name).await?;
    let mut users = references(engine, name);
    users.remove(except);
    if !users.is_empty() {
        let users: Vec<String> = users.into_iter().collect();
        return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
    }
    mount::release_all(engine, name).await.map_err(context)?;
    let wanted = name.to_owned();
    blocking(&engine.store, move |store| Ok(store.remove_volume(&wanted)?)).await.map_err(context)?;
    emit(&engine.events, name, "destroy", &[]);
    Ok(())
}

/// Removes what nobody else has of a container's anonymous volumes: the
/// container goes.
pub async fn container_removed(engine: &Engine, record: &Record) {
    let anonymous: BTreeSet<&str> =
        record.mounts.iter().filter(|mount| mount.anonymous).filter_map(|mount| mount.volume()).collect();
    for name in anonymous {
        match delete(engine, name, record.id.as_str()).await {
            Ok(()) => {}
            // Another container has it, or it has been removed before.
            Err(err) if matches!(err.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(err) => tracing::error!("volume of container {}: {err}", record.id),
        }
    }
}

/// Where the files of a volume are, whether it exists or not.
pub fn path(engine: &Engine, name: &str) -> PathBuf {
    engine.store.volume_data(name)
}

fn emit(events: &Events, name: &str, action: &str, more: &[(&str, String)]) {
    let mut attributes = BTreeMap::from([("driver".to_owned(), DRIVER.to_owned())]);
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    events.emit("volume", action, name, attributes);
}

/// Tells of a container's volumes that it has them now.
pub fn emit_mounts(engine: &Engine, record: &Record) {
    for mount in &record.mounts {
        if let Some(volume) = mount.volume() {
            let about = [
                ("container", record.id.to_string()),
                ("destination", mount.point.destination.clone()),
                ("propagation", mount.point.propagation.clone()),
                ("read/write", mount.point.rw.to_string()),
            ];
            emit(&engine.events, volume, "mount", &about);
        }
    }
}

/// Tells of a container's volumes that it no longer has them.
pub fn emit_unmounts(engine: &Engine, record: &Record) {
    for volume in names_of(record) {
        emit(&engine.events, volume, "unmount", &[("container", record.id.to_string())]);
    }
}
