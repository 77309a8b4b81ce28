//! Templates in a folder: they outlive the engine, and are for all engines that
//! name it. They do not outlive the host's boot.
//!
//! ```text
//! <folder>/lock               held while one is made or removed
//! <folder>/<hash>/            memory, state, key
//! <folder>/new/               one that is being made, or what is left of it
//! ```

use hako_model::{Error, Result, VmConfig};
use hako_sandbox::microvm::template::{self, Template};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// More than these are not kept in a folder: the one that was used the longest
/// ago goes.
const MOST: usize = 8;
const LOCK: &str = "lock";
const NEW: &str = "new";
const KEY: &str = "key";

/// The template with `key`, if it is in the folder.
pub(super) fn find(folder: &Path, key: &str) -> Option<Template> {
    let key = whole(key).ok()?;
    let place = folder.join(hash(&key));
    // It came there whole, and goes as it came.
    let is_it = fs::read_to_string(place.join(KEY)).is_ok_and(|text| text == key);
    is_it.then(|| template::load(&place).ok()).flatten()
}

fn whole(key: &str) -> Result<String> {
    Ok(format!("boot {}\n{key}", boot_id()?))
}

/// The template with `key`, as it is in the folder or as it is put there now.
///
/// # Errors
/// It cannot be made, or does not serve.
pub(super) async fn find_or_make(
    folder: &Path,
    key: &str,
    vm: &VmConfig,
    stop: impl Future<Output = ()>,
) -> Result<Template> {
    let key = whole(key)?;
    let place = folder.join(hash(&key));
    let named = |err: io::Error| Error::internal(format!("templates in {}: {err}", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named)?;
    let path = folder.join(LOCK);
    let lock = tokio::task::spawn_blocking(move || {
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        lock.lock()?;
        Ok(lock)
    });
    let _lock = lock.await.map_err(|err| Error::internal(err.to_string()))?.map_err(named)?;
    if fs::read_to_string(place.join(KEY)).is_ok_and(|text| text == key) {
        let template = template::load(&place)?;
        // Another engine may have had other luck with it.
        return match template::probe(vm, &template).await {
            Ok(()) => {
                // For who is the last; a folder that cannot be touched is used all the same.
                let _ = File::open(&place).and_then(|dir| dir.set_modified(SystemTime::now()));
                Ok(template)
            }
            Err(err) => {
                fs::remove_dir_all(&place).map_err(named)?;
                Err(err)
            }
        };
    }
    clean(folder).map_err(named)?;
    let new = folder.join(NEW);
    DirBuilder::new().mode(0o700).create(&new).map_err(named)?;
    let template = template::make(vm, &new, stop).await?;
    template::probe(vm, &template).await?;
    // A host that ends now boots before it looks again, and then it is another key's.
    fs::write(new.join(KEY), &key).map_err(named)?;
    fs::rename(&new, &place).map_err(named)?;
    template::load(&place)
}

/// Removes what is half made, of another boot of the host, or too much.
fn clean(folder: &Path) -> io::Result<()> {
    let boot = boot_id().map_err(|err| io::Error::other(err.message))?;
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let key = fs::read_to_string(path.join(KEY)).unwrap_or_default();
        if key.lines().next() == Some(format!("boot {boot}").as_str()) {
            kept.push((fs::metadata(&path)?.modified()?, path));
        } else {
            fs::remove_dir_all(&path)?;
        }
    }
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST);
    kept.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path))
}

/// Removes a template that does not serve. Without success it is found out again.
pub(super) fn remove(folder: &Path, template: &Template) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if template.is_in(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn boot_id() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn hash(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
