//! The mounts of a container that is being created: what was asked for, what
//! other containers have, and what the image wants.

use super::{
    record::{Mounted, Record},
    settings::mounts::{From, Wanted, WantedVolume},
};
use crate::{
    Engine,
    images::ResolvedImage,
    volumes::{self, Asked, Held},
};
use hako_api::types::{HostConfig, MountPoint};
use hako_model::{Error, Result};

/// Docker's mode of a named volume that says nothing of its own.
const MODE: &str = "z";

/// What a create asks for.
pub(super) struct Request<'a> {
    pub(super) host: &'a HostConfig,
    /// Checked already.
    pub(super) wanted: Vec<Wanted>,
    pub(super) from: Vec<From>,
    /// Destinations of anonymous volumes, if there shall be any.
    pub(super) anonymous: Vec<String>,
}

/// Mounts, each destination once, and volumes to be filled.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) mounts: Vec<Mounted>,
    /// Volumes, and where the image may have something for them.
    fills: Vec<(String, String)>,
}

/// Finds and makes volumes, which `held` keeps from here on.
///
/// # Errors
/// Docker's words for what is not there, or cannot be made.
pub(super) async fn resolve(engine: &Engine, request: Request<'_>, held: &mut Held) -> Result<Resolved> {
    let mut resolved = Resolved::default();
    for from in &request.from {
        let other = engine.containers.find(&from.container).map_err(|err| Error::invalid(err.message))?;
        for mount in taken_over(&other.view().record, from) {
            if let Some(volume) = mount.volume() {
                held.keep(volume).await?;
            }
            resolved.put(mount);
        }
    }
    for Wanted { mut mounted, volume } in request.wanted {
        if let Some(volume) = volume {
            resolved.volume(engine, held, volume, &mut mounted).await?;
            if mounted.point.mode.is_empty() {
                MODE.clone_into(&mut mounted.point.mode);
            }
        }
        resolved.put(mounted);
    }
    for destination in request.anonymous {
        let tmpfs = request.host.tmpfs.keys().any(|target| target.trim_end_matches('/') == destination);
        if tmpfs || resolved.mounts.iter().any(|mount| mount.point.destination == destination) {
            continue;
        }
        let point = MountPoint { r#type: "volume".to_owned(), destination, rw: true, ..MountPoint::default() };
        let mut mounted = Mounted { point, anonymous: true, ..Mounted::default() };
        let driver = request.host.volume_driver.clone();
        let volume = WantedVolume { driver, copy: true, ..WantedVolume::default() };
        resolved.volume(engine, held, volume, &mut mounted).await?;
        resolved.put(mounted);
    }
    Ok(resolved)
}

/// What another container has, without where its own mounts come from.
fn taken_over<'a>(other: &'a Record, from: &'a From) -> impl Iterator<Item = Mounted> + 'a {
    other.mounts.iter().filter(|mount| mount.is_of_host()).map(|mount| Mounted {
        point: MountPoint { mode: String::new(), rw: mount.point.rw && !from.read_only, ..mount.point.clone() },
        ..mount.clone()
    })
}

impl Resolved {
    /// The last of a destination is the one that counts.
    fn put(&mut self, mounted: Mounted) {
        let at = self.mounts.iter().position(|old| old.point.destination == mounted.point.destination);
        match at {
            Some(at) => self.mounts[at] = mounted,
            None => self.mounts.push(mounted),
        }
    }

    async fn volume(
        &mut self,
        engine: &Engine,
        held: &mut Held,
        wanted: WantedVolume,
        mounted: &mut Mounted,
    ) -> Result<()> {
        let WantedVolume { name, driver, options, labels, copy } = wanted;
        let found = held.take(Asked { name, driver, options, labels }).await?;
        mounted.point.source = volumes::path(engine, &found.name).display().to_string();
        volumes::DRIVER.clone_into(&mut mounted.point.driver);
        mounted.point.name.clone_from(&found.name);
        // Of a part of a volume the image knows nothing.
        if copy && mounted.subpath.is_empty() {
            self.fills.push((found.name, mounted.point.destination.clone()));
        }
        Ok(())
    }

    /// Gives empty volumes what the image has for them.
    ///
    /// # Errors
    /// As [`volumes::populate`].
    pub(super) async fn fill(&self, engine: &Engine, container: &str, image: &ResolvedImage) -> Result<()> {
        for (volume, destination) in &self.fills {
            volumes::populate(engine, container, volume, destination, &image.layers).await?;
        }
        Ok(())
    }
}
