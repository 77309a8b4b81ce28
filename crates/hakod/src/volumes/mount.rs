//! Volumes with a device of their own: mounted on their folders, in the host's
//! own mount namespace, while a container that runs has them.
//!
//! ```text
//! first start with it ─► mount ─► … ─► end of the last container with it ─► unmount
//! ```
//!
//! An engine that has just started reads from the kernel what is mounted and
//! from its records who has it; what nobody has is unmounted.

use super::{Found, find, lock, locked, names_of, path};
use crate::{
    Engine,
    containers::record::{Record, State},
};
use hako_model::{Error, Result};
use hako_os::mount::{self, table};
use nix::errno::Errno;
use std::{collections::BTreeSet, io, net::IpAddr, path::Path};

impl Found {
    fn has_device(&self) -> bool {
        !self.option("device").is_empty() || !self.option("type").is_empty()
    }
}

/// Makes the volumes of a container ready for it; on an error all is as before.
///
/// # Errors
/// Docker's words for what cannot be mounted.
pub async fn acquire(engine: &Engine, record: &Record) -> Result<()> {
    let names: BTreeSet<String> = names_of(record).map(str::to_owned).collect();
    for name in names {
        let ready = acquire_one(engine, &name, record.id.as_str()).await;
        if let Err(err) = ready {
            release(engine, record.id.as_str()).await;
            return Err(err);
        }
    }
    Ok(())
}

async fn acquire_one(engine: &Engine, name: &str, container: &str) -> Result<()> {
    let _lock = locked(engine, name).await;
    let volume = find(engine, name).await?;
    acquire_locked(engine, &volume, container).await
}

/// [`acquire`] of one volume, whose lock the caller holds.
pub(super) async fn acquire_locked(engine: &Engine, volume: &Found, container: &str) -> Result<()> {
    let data = path(engine, &volume.name);
    let context = |err: Error| err.context(format!("error while mounting volume '{}'", data.display()));
    if !data.is_dir() {
        return Err(context(Error::internal(format!("stat {}: no such file or directory", data.display()))));
    }
    if !volume.has_device() {
        return Ok(());
    }
    if !is_mounted(&data).map_err(|err| context(err.into()))? {
        let (volume, data) = (volume.clone(), data.clone());
        // A server that does not answer holds up nobody else.
        let mounted = crate::build::on_thread("volume", move || mount_device(&volume, &data)).await;
        mounted.map_err(context)?;
    }
    lock(&engine.volumes.mounted).entry(volume.name.clone()).or_default().insert(container.to_owned());
    Ok(())
}

fn is_mounted(data: &Path) -> io::Result<bool> {
    Ok(table::mounts_in(data)?.iter().any(|point| point == data))
}

fn mount_device(volume: &Found, data: &Path) -> Result<()> {
    let (device, kind) = (volume.option("device"), volume.option("type"));
    if device.is_empty() {
        return Err(Error::internal("missing device in volume options"));
    }
    let options: Vec<String> =
        volume.option("o").split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    if matches!(kind, "nfs" | "cifs") {
        let address = options.iter().find_map(|option| option.strip_prefix("addr="));
        if let Some(name) = address.filter(|address| address.parse::<IpAddr>().is_err()) {
            return Err(Error::unsupported(format!("a volume's server by its name ({name}): give its address")));
        }
    }
    mount::mount_volume(kind, device, data, &options).map_err(|err| {
        let (flags, text) = mount::parse_options(&options);
        let flags = if flags.is_empty() { String::new() } else { format!(", flags: {:#x}", flags.bits()) };
        let text = if text.is_empty() { String::new() } else { format!(", data: {text}") };
        Error::internal(format!(
            "failed to mount local volume: mount {device}:{}{flags}{text}: {}",
            data.display(),
            words(&err)
        ))
    })
}

/// The kernel's answer as Go has it.
fn words(err: &io::Error) -> String {
    let Some(errno) = err.raw_os_error() else { return err.to_string() };
    let text = Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Not an abbreviation, such as I/O.
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// The container needs its volumes no longer: those that nobody else needs are
/// unmounted. Goes on past errors and logs them.
pub async fn release(engine: &Engine, container: &str) {
    let names: Vec<String> = {
        let mounted = lock(&engine.volumes.mounted);
        mounted.iter().filter(|(_, users)| users.contains(container)).map(|(name, _)| name.clone()).collect()
    };
    for name in names {
        let _lock = locked(engine, &name).await;
        release_locked(engine, &name, container);
    }
}

/// Whether a volume is mounted for this container.
pub fn is_user(engine: &Engine, container: &str) -> bool {
    lock(&engine.volumes.mounted).values().any(|users| users.contains(container))
}

/// [`release`] of one volume, whose lock the caller holds.
pub(super) fn release_locked(engine: &Engine, name: &str, container: &str) {
    let is_last = {
        let mut mounted = lock(&engine.volumes.mounted);
        let Some(users) = mounted.get_mut(name) else { return };
        let is_last = users.remove(container) && users.is_empty();
        if is_last {
            mounted.remove(name);
        }
        is_last
    };
    if is_last && let Err(err) = unmount(&path(engine, name)) {
        tracing::warn!("unmount volume {name}: {err}");
    }
}

fn unmount(data: &Path) -> io::Result<()> {
    while is_mounted(data)? {
        // What is mounted in it is the host's, and stays where else it is.
        mount::propagate(data, "rprivate")?;
        mount::unmount(data)?;
    }
    Ok(())
}

/// A volume that nobody uses goes: nothing may be mounted in its folder, or
/// that would be removed with it. The caller holds its lock.
pub(super) async fn release_all(engine: &Engine, name: &str) -> Result<()> {
    let data = path(engine, name);
    lock(&engine.volumes.mounted).remove(name);
    unmount(&data)?;
    let dir = data.parent().unwrap_or(&data);
    match table::mounts_in(dir)?.first() {
        None => Ok(()),
        Some(point) => Err(Error::internal(format!("volume has active mounts: {}", point.display()))),
    }
}

/// At start, before anything else is done about a container: it may still have
/// its volumes.
pub fn adopt(engine: &Engine, record: &Record) {
    let has_process = match &record.state {
        State::Starting { .. } | State::Running(_) | State::Paused(_) => true,
        State::Created { .. }
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => false,
    };
    for name in names_of(record).filter(|_| has_process) {
        if is_mounted(&path(engine, name)).unwrap_or(false) {
            lock(&engine.volumes.mounted).entry(name.to_owned()).or_default().insert(record.id.to_string());
        }
    }
}

/// At start, after all containers are found again: what no container has is unmounted.
pub async fn sweep(engine: &Engine) {
    let found = match super::all(engine).await {
        Ok(found) => found,
        Err(err) => return tracing::warn!("volumes: {err}"),
    };
    for volume in found.iter().filter(|volume| volume.has_device()) {
        let _lock = locked(engine, &volume.name).await;
        let is_used = lock(&engine.volumes.mounted).contains_key(&volume.name);
        if !is_used && let Err(err) = unmount(&path(engine, &volume.name)) {
            tracing::warn!("unmount volume {}: {err}", volume.name);
        }
    }
}
