//! Caches of `RUN --mount=type=cache`: `build-cache/<wall>/<name>` in the data
//! root, a folder or a disk. Only the first use decides on owner and mode.

use crate::{Engine, containers::step::StepSource};
use hako_dockerfile::{MountKind, RunMount, Sharing};
use hako_model::{Error, Isolation, Result};
use hako_store::{KeyGuard, Store};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

const FOLDER: &str = "build-cache";
/// A cache behind the hyperv wall may have so many bytes; its disk is sparse.
const DISK: u64 = 20 << 30;

/// A cache that a step uses.
pub struct Held {
    path: PathBuf,
    isolation: Isolation,
    _lock: Option<Arc<KeyGuard>>,
    _private: Option<Private>,
    /// Nobody removes it meanwhile.
    _used: Arc<tokio::sync::OwnedRwLockReadGuard<()>>,
}

impl Held {
    /// What is mounted.
    pub fn source(&self) -> StepSource {
        match self.isolation {
            Isolation::Process => StepSource::Host { path: self.path.clone() },
            Isolation::Hyperv => {
                StepSource::Disk { path: self.path.clone(), filesystem: "ext4".to_owned(), inside: String::new() }
            }
        }
    }
}

/// A private cache's name, taken until this is dropped.
struct Private {
    engine: Arc<Engine>,
    name: String,
}

impl Drop for Private {
    fn drop(&mut self) {
        super::super::lock(&self.engine.builds.private).remove(&self.name);
    }
}

/// A cache's name on the disk, and what keeps it private.
fn name(engine: &Arc<Engine>, mount: &RunMount) -> (String, Option<Private>) {
    let id = mount.id.as_deref().or(mount.target.as_deref()).unwrap_or_default();
    let name = hex::encode(&Sha256::digest(id)[..16]);
    if mount.sharing != Sharing::Private {
        return (name, None);
    }
    let mut taken = super::super::lock(&engine.builds.private);
    let mut number = 0;
    let mut own = format!("{name}-p0");
    while !taken.insert(own.clone()) {
        number += 1;
        own = format!("{name}-p{number}");
    }
    (own.clone(), Some(Private { engine: engine.clone(), name: own }))
}

/// Waits until the caches of a step are free, those that are to be locked, and makes
/// those that are not there; one for each `cache` of `mounts`. A disk has one user at
/// a time, whatever was asked for.
///
/// # Errors
/// The host's; a disk that is to be mounted twice.
pub async fn hold(engine: &Arc<Engine>, mounts: &[RunMount], isolation: Isolation) -> Result<Vec<Held>> {
    let wanted = mounts.iter().filter(|mount| mount.kind == MountKind::Cache);
    let wanted: Vec<_> = wanted.map(|mount| (mount, name(engine, mount))).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let in_use = Arc::new(engine.builds.caches.clone().read_owned().await);
    let mut locked = BTreeMap::new();
    for (mount, (name, _)) in &wanted {
        let twice = locked.contains_key(name);
        if twice && isolation == Isolation::Hyperv {
            return Err(Error::invalid("a RUN behind the hyperv wall mounts a cache once only"));
        }
        *locked.entry(name.clone()).or_insert(isolation == Isolation::Hyperv) |= mount.sharing == Sharing::Locked;
    }
    // In one order and each once, so that no step waits for itself or for one that waits for it.
    let mut locks = BTreeMap::new();
    for (name, _) in locked.into_iter().filter(|(_, exclusive)| *exclusive) {
        let lock = engine.store.lock(&format!("build-cache:{isolation}:{name}")).await;
        locks.insert(name, Arc::new(lock));
    }
    let mut held = Vec::new();
    for (mount, (name, private)) in wanted {
        let path = ready(engine, mount, &name, isolation).await?;
        let lock = locks.get(&name).cloned();
        held.push(Held { path, isolation, _lock: lock, _private: private, _used: in_use.clone() });
    }
    Ok(held)
}

/// Makes a cache if it is not there, and notes its use.
async fn ready(engine: &Arc<Engine>, mount: &RunMount, name: &str, isolation: Isolation) -> Result<PathBuf> {
    let parent = engine.store.root().join(FOLDER).join(isolation.to_string());
    let path = parent.join(match isolation {
        Isolation::Process => name.to_owned(),
        Isolation::Hyperv => format!("{name}.img"),
    });
    let _one = engine.store.lock(&format!("build-cache:make:{isolation}:{name}")).await;
    if !path.exists() {
        let (store, mount, path) = (engine.store.clone(), mount.clone(), path.clone());
        super::super::on_thread("cache", move || make(&store, &mount, isolation, &parent, &path)).await?;
    }
    let used = fs::File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
    if let Err(err) = used {
        tracing::debug!("note the use of {}: {err}", path.display());
    }
    Ok(path)
}

fn make(store: &Store, mount: &RunMount, isolation: Isolation, parent: &Path, path: &Path) -> Result<()> {
    let (mode, owner) = (mount.mode.unwrap_or(0o755), (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)));
    make_private(parent)?;
    let scratch = store.temp_dir()?;
    let folder = scratch.path().join("cache");
    let made = match isolation {
        Isolation::Process => {
            own(&folder, mode, owner)?;
            folder
        }
        Isolation::Hyperv => {
            fs::create_dir(&folder)?;
            // The guest puts an overlay over these two, so that no `lost+found` is seen.
            own(&folder.join("upper"), mode, owner)?;
            own(&folder.join("work"), 0o755, (0, 0))?;
            let disk = scratch.path().join("disk");
            hako_layers::ext4_of(&folder, DISK, &disk)?;
            disk
        }
    };
    // A half made one must never have the name.
    fs::File::open(&made)?.sync_all()?;
    Ok(fs::rename(&made, path)?)
}

fn own(path: &Path, mode: u32, (uid, gid): (u32, u32)) -> Result<()> {
    fs::create_dir(path)?;
    chown(path, Some(uid), Some(gid))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn make_private(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    // Above what containers own: nobody else comes in.
    if let Some(parent) = path.parent() {
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
    }
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o700))?)
}

/// A cache on the disk.
pub struct Cache {
    /// `<name>-<wall>`.
    pub name: String,
    /// Bytes that it takes.
    pub size: u64,
    /// When it was last used, seconds since 1970.
    pub used: i64,
    path: PathBuf,
}

impl Cache {
    /// Removes it. No step may use it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self) -> Result<()> {
        let removed = if self.path.is_dir() { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        removed.map_err(|err| Error::internal(format!("remove {}: {err}", self.path.display())))
    }
}

/// Every cache, the one used longest ago first.
///
/// # Errors
/// The kernel's.
pub fn caches(data_root: &Path) -> Result<Vec<Cache>> {
    let mut all = Vec::new();
    for wall in [Isolation::Process, Isolation::Hyperv] {
        let Ok(entries) = fs::read_dir(data_root.join(FOLDER).join(wall.to_string())) else { continue };
        for entry in entries {
            let entry = entry?;
            let meta = entry.metadata()?;
            let used = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let size = if meta.is_dir() { tree_size(&entry.path())? } else { meta.blocks() * 512 };
            all.push(Cache {
                name: format!("{}-{wall}", entry.file_name().to_string_lossy().trim_end_matches(".img")),
                size,
                used: i64::try_from(used).unwrap_or(i64::MAX),
                path: entry.path(),
            });
        }
    }
    all.sort_by_key(|cache| cache.used);
    Ok(all)
}

/// Bytes of the files below a folder. What goes meanwhile counts as nothing. A step
/// may write there: no link is followed, also not one that was a folder a moment ago.
fn tree_size(top: &Path) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = openat(CWD, top, flags, Mode::empty()) else { return Ok(0) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let (mut folders, mut size) = (vec![PathBuf::from(".")], 0);
    while let Some(folder) = folders.pop() {
        let Ok(open) = openat2(&top, &folder, flags, Mode::empty(), resolve) else { continue };
        let listed = fs::read_dir(format!("/proc/self/fd/{}", open.as_raw_fd()));
        for entry in listed.into_iter().flatten().flatten() {
            // Of the entry itself, in the folder that is open.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(folder.join(entry.file_name()));
            } else {
                size += meta.blocks() * 512;
            }
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::tree_size;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, other) = (folder.path().join("cache"), folder.path().join("other"));
        fs::create_dir_all(cache.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("f"), vec![1; 1 << 20]).unwrap();
        let before = tree_size(&cache).unwrap();
        fs::write(cache.join("a/b/f"), vec![1; 64 << 10]).unwrap();
        symlink(&other, cache.join("a/link")).unwrap();
        let size = tree_size(&cache).unwrap() - before;
        assert!((64 << 10..1 << 20).contains(&size), "{size}");
        symlink(&other, folder.path().join("link")).unwrap();
        assert_eq!(tree_size(&folder.path().join("link")).unwrap(), 0);
    }
}
