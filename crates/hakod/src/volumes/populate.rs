//! The first content of a volume: what the image has where it is mounted.
//!
//! It is put together beside the volume's folder and takes its place at once,
//! so that a volume has all of it or nothing; only where another container
//! already looks at the empty folder, or a device is mounted there, it goes
//! right into it.

use super::{Found, find, locked, mount, path, references};
use crate::{Engine, build::ImageRoot};
use hako_layers::files::{CopySource, Root};
use hako_model::{Error, ErrorKind, Result};
use hako_store::Store;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Fills `volume`, if there is nothing in it, for a container that mounts it on
/// `destination` and whose image has these layers, bottom first.
///
/// # Errors
/// The image has a file there; the host's.
pub async fn populate(
    engine: &Engine,
    container: &str,
    volume: &str,
    destination: &str,
    layers: &[PathBuf],
) -> Result<()> {
    let _lock = locked(engine, volume).await;
    let found = find(engine, volume).await?;
    mount::acquire_locked(engine, &found, container).await?;
    let filled = fill(engine, container, &found, destination, layers).await;
    mount::release_locked(engine, volume, container);
    filled.map_err(|err| match err.kind {
        ErrorKind::InvalidParameter => err,
        _ => err.context(format!("copy the image's {destination} to volume {volume}")),
    })
}

async fn fill(engine: &Engine, container: &str, volume: &Found, destination: &str, layers: &[PathBuf]) -> Result<()> {
    let data = path(engine, &volume.name);
    if !is_empty(&data)? {
        return Ok(());
    }
    let mut others = references(engine, &volume.name);
    others.remove(container);
    let is_mounted = !hako_os::mount::table::mounts_in(&data)?.is_empty();
    let job = Job {
        store: engine.store.clone(),
        name: volume.name.clone(),
        destination: destination.to_owned(),
        layers: layers.to_vec(),
        in_place: is_mounted || !others.is_empty(),
    };
    crate::build::on_thread("populate", move || job.run()).await
}

fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir)?.next().is_none())
}

struct Job {
    store: Store,
    name: String,
    destination: String,
    layers: Vec<PathBuf>,
    in_place: bool,
}

impl Job {
    fn run(self) -> Result<()> {
        let image = ImageRoot::mount(&self.store, &self.layers)?;
        let source = match CopySource::find(image.root(), self.destination.as_bytes()) {
            Err(err) if err.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if !source.is_dir() {
            return Err(Error::invalid(format!(
                "cannot mount volume over existing file, file exists {}",
                self.destination
            )));
        }
        if self.in_place {
            return source.copy_whole(&Root::open(&self.store.volume_data(&self.name))?);
        }
        let part = self.store.volume_part(&self.name);
        // What a copy that failed has left.
        remove(&part)?;
        fs::create_dir(&part)?;
        let filled = Root::open(&part).and_then(|to| source.copy_whole(&to));
        let filled = filled.and_then(|()| Ok(self.store.fill_volume(&self.name)?));
        if filled.is_err() {
            // The error that came first says why.
            let _ = remove(&part);
        }
        filled
    }
}

/// Nothing in it is deeper than an image may be.
fn remove(part: &Path) -> Result<()> {
    match fs::remove_dir_all(part) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
