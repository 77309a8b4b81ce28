//! What `RUN --mount` of a build adds: files in the bundle, mounts in it, and
//! binds from there into the container.

use super::{RootMount, rootfs::escape};
use crate::containers::step::{StepMount, StepSource};
use hako_model::{Disk, Error, Result};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::Path,
};

/// The name of the n-th mount's file, or of its folder, in the bundle.
fn name(n: usize) -> String {
    format!("step-{n}")
}

/// Puts files into the bundle, with their mode and owner.
///
/// # Errors
/// The kernel's.
pub fn files(bundle: &Path, step: &[StepMount]) -> Result<()> {
    for (n, mount) in step.iter().enumerate() {
        let StepSource::File { path } = &mount.source else { continue };
        let to = bundle.join(name(n));
        // Its text may be a secret, so that only its place is told.
        let named = |err: std::io::Error| Error::internal(format!("a file for {}: {err}", mount.destination));
        let meta = path.metadata().map_err(named)?;
        fs::copy(path, &to).map_err(named)?;
        chown(&to, Some(meta.uid()), Some(meta.gid())).map_err(named)?;
        fs::set_permissions(&to, meta.permissions()).map_err(named)?;
    }
    Ok(())
}

/// Mounts in the bundle, made by the shim or by the agent.
///
/// # Errors
/// The kernel's.
pub fn mounts(step: &[StepMount]) -> Result<Vec<RootMount>> {
    let mut mounts = Vec::new();
    for (n, mount) in step.iter().enumerate() {
        let name = name(n);
        match &mount.source {
            StepSource::File { .. } | StepSource::Host { .. } => {}
            StepSource::Overlay { lowers, scratch, .. } => {
                let dir = |part: &str| {
                    let path = scratch.join(part);
                    fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                    Ok::<_, Error>(escape(&path))
                };
                let mut lowers: Vec<String> = lowers.iter().map(|path| escape(path)).collect();
                if lowers.is_empty() {
                    // An image without layers; overlayfs wants one.
                    lowers.push(dir("empty")?);
                }
                let options = [
                    format!("lowerdir={}", lowers.join(":")),
                    format!("upperdir={}", dir("upper")?),
                    format!("workdir={}", dir("work")?),
                ];
                mounts.push(root_mount("overlay", "overlay", &name, &options));
            }
            StepSource::Disk { filesystem, .. } => {
                let read_only = filesystem == "erofs";
                let options = if read_only { vec!["ro".to_owned()] } else { Vec::new() };
                mounts.push(root_mount(filesystem, &format!("serial:{name}"), &format!("{name}.disk"), &options));
                let (lower, upper) = if read_only {
                    mounts.push(root_mount("tmpfs", "tmpfs", &format!("{name}.over"), &[]));
                    (format!("{name}.disk"), format!("{name}.over"))
                } else {
                    mounts.push(root_mount("tmpfs", "tmpfs", &format!("{name}.below"), &[]));
                    (format!("{name}.below"), format!("{name}.disk"))
                };
                let options =
                    [format!("lowerdir={lower}"), format!("upperdir={upper}/upper"), format!("workdir={upper}/work")];
                mounts.push(root_mount("overlay", "overlay", &name, &options));
            }
        }
    }
    Ok(mounts)
}

fn root_mount(kind: &str, source: &str, target: &str, options: &[String]) -> RootMount {
    RootMount {
        type_: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options: options.to_vec(),
        ..RootMount::default()
    }
}

/// The binds, for the end of `config.json`'s mounts.
pub fn oci(step: &[StepMount]) -> impl Iterator<Item = Value> + '_ {
    step.iter().enumerate().map(|(n, mount)| {
        let source = match &mount.source {
            StepSource::File { .. } => name(n),
            StepSource::Host { path } => path.display().to_string(),
            StepSource::Overlay { inside, .. } | StepSource::Disk { inside, .. } => {
                format!("{}/{inside}", name(n)).trim_end_matches('/').to_owned()
            }
        };
        let access = if mount.read_only { "ro" } else { "rw" };
        json!({
            "destination": mount.destination,
            "type": "bind",
            "source": source,
            "options": ["rbind", "rprivate", access, "nosuid", "nodev"],
        })
    })
}

/// Disks of the virtual machine.
pub fn disks(step: &[StepMount]) -> impl Iterator<Item = Disk> + '_ {
    step.iter().enumerate().filter_map(|(n, mount)| match &mount.source {
        StepSource::Disk { path, filesystem, .. } => {
            Some(Disk { serial: name(n), path: path.clone(), size: None, read_only: filesystem == "erofs" })
        }
        StepSource::File { .. } | StepSource::Host { .. } | StepSource::Overlay { .. } => None,
    })
}
