//! The files that a container has from the engine.

use crate::{
    Engine,
    containers::record::Record,
    guests::Guest,
    networks::{Joined, files},
    programs::present,
};
use hako_model::{Error, Isolation, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where `hostname`, `hosts` and `resolv.conf` are, which a container can write to:
/// on the disk, and not in the memory that the exec root often is. A guest has
/// copies of its own, and the bundle's are what it was told.
pub fn place(engine: &Engine, record: &Record) -> PathBuf {
    let id = record.id.as_str();
    match record.isolation {
        Isolation::Process => engine.container_dir(id),
        Isolation::Hyperv => engine.shim_dir(id).join("bundle"),
    }
}

/// Where a container has them that was started before: an engine of before had them
/// in the bundle for both walls.
pub fn present_place(engine: &Engine, id: &str, isolation: Isolation) -> PathBuf {
    let (kept, bundle) = (engine.container_dir(id), engine.shim_dir(id).join("bundle"));
    if isolation == Isolation::Process && kept.join("hosts").is_file() { kept } else { bundle }
}

/// Writes `hostname`, `hosts`, `resolv.conf`, and `init` where it is wanted.
///
/// # Errors
/// The kernel's, or a missing `hako-init`.
pub fn write(
    engine: &Engine,
    bundle: &Path,
    record: &Record,
    guest: Option<&Guest>,
    joined: Option<&Joined>,
) -> Result<()> {
    let place = place(engine, record);
    let put = |name: &str, text: String| {
        let path = place.join(name);
        fs::write(&path, text).map_err(|err| Error::internal(format!("{}: {err}", path.display())))
    };
    put("hostname", format!("{}\n", record.config.hostname))?;
    let facts = match joined {
        Some(joined) => joined.facts.clone(),
        None => files::Facts { is_host: record.host.network_mode == "host", ..files::Facts::default() },
    };
    put("hosts", files::hosts(record, &facts))?;
    put("resolv.conf", files::resolv_conf(engine, record, &facts))?;
    if super::process::has_init(&record.host) {
        let init = guest.map_or(&engine.programs.init, |guest| &guest.init);
        let (from, to) = (present(init)?, bundle.join("init"));
        fs::copy(from, &to).map_err(|err| Error::internal(format!("{}: {err}", to.display())))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
