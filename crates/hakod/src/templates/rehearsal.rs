//! What a machine that is to wait runs once: a container like most, of an image
//! that has the engine's own init and nothing else.

use crate::{
    Engine,
    containers::{record::Record, settings},
    guests::Guest,
    spec,
};
use hako_api::types::{ContainerConfig, HostConfig};
use hako_model::{ContainerId, Error, Isolation, Result, VmConfig};
use hako_sandbox::microvm::template::ROOTFS_BYTES;
use serde_json::json;
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// In the image. Without arguments it says how it is used, and ends.
const PROGRAM: &str = "/bin/true";
const FOLDERS: [&str; 7] = ["bin", "dev", "etc", "proc", "run", "sys", "tmp"];

fn guest(engine: &Engine, vm: &VmConfig) -> Guest {
    let all = engine.guests.all();
    all.into_iter().find(|guest| guest.kernel == vm.boot.kernel).unwrap_or_else(|| engine.guests.default())
}

/// The bundle of the rehearsal in `vm`.
///
/// # Errors
/// As those of a container's.
pub(super) async fn prepare(engine: &Engine, vm: &VmConfig, bundle: &Path) -> Result<()> {
    let id = ContainerId::random();
    let mut host = HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() };
    settings::fill(&mut host, Isolation::Hyperv, &engine.host);
    let config = ContainerConfig { hostname: id.short().to_owned(), ..ContainerConfig::default() };
    let record = json!({
        "id": id, "name": "", "created": "", "image_id": "", "path": PROGRAM, "args": [],
        "config": config, "host": host, "isolation": Isolation::Hyperv, "mounts": [],
        "state": crate::containers::record::State::Created { failure: None },
    });
    let record: Record = serde_json::from_value(record).map_err(|err| Error::internal(err.to_string()))?;
    for (name, text) in [("hostname", "rehearsal\n"), ("hosts", "127.0.0.1\tlocalhost\n"), ("resolv.conf", "")] {
        fs::write(bundle.join(name), text)?;
    }
    spec::rehearsal(engine, &record, bundle, &guest(engine, vm)).await
}

/// The image, for the processors of `board`; made once.
///
/// # Errors
/// `mkfs.erofs` is missing; the disk is full.
pub(super) async fn rootfs(engine: &Engine, board: &str) -> Result<PathBuf> {
    let board: hako_qemu::Board = board.parse().map_err(Error::invalid)?;
    let native = engine.guests.all().into_iter().find(|guest| guest.board.architecture() == board.architecture());
    let init = native.map_or_else(|| engine.programs.init.clone(), |guest| guest.init);
    let folder = engine.config.data_root.join("cache");
    let image = folder.join(format!("rehearsal-{}.erofs", board.architecture()));
    let is_older = || -> std::io::Result<bool> { Ok(image.metadata()?.modified()? < init.metadata()?.modified()?) };
    if !is_older().unwrap_or(true) {
        return Ok(image);
    }
    let target = image.clone();
    let made = tokio::task::spawn_blocking(move || make(&folder, &init, &target));
    made.await.map_err(|err| Error::internal(err.to_string()))??;
    Ok(image)
}

fn make(folder: &Path, init: &Path, image: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let tree = scratch.path().join("tree");
    for name in FOLDERS {
        fs::create_dir_all(tree.join(name))?;
    }
    let program = tree.join(PROGRAM.trim_start_matches('/'));
    fs::copy(init, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let (work, made) = (scratch.path().join("work"), scratch.path().join("image"));
    fs::create_dir(&work)?;
    hako_layers::build_erofs(&[tree], &made, &work).map_err(|err| Error::internal(err.to_string()))?;
    File::options().write(true).open(&made)?.set_len(ROOTFS_BYTES)?;
    Ok(fs::rename(&made, image)?)
}
