//! The root filesystem: overlay over the image's layers, or disks.

use super::RootMount;
use crate::{Engine, containers::record::Record, images::ResolvedImage, shim::ShimDir};
use hako_model::{Error, Result};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

/// So that the upper directory says by itself what a container has written:
/// `diff` and `commit` read it.
const PLAIN: &[&str] = &["redirect_dir=off", "metacopy=off"];

/// Overlay mounts pass their options in one page.
const MAX_OPTIONS: usize = 4000;

/// The process wall's: mounted by the shim in its mount namespace.
///
/// # Errors
/// The kernel's, and an image with more layers than one mount takes.
pub fn overlay(engine: &Engine, record: &Record, image: &ResolvedImage, dir: &ShimDir) -> Result<Vec<RootMount>> {
    let home = engine.container_dir(record.id.as_str());
    let (upper, work) = (home.join("upper"), home.join("work"));
    for path in [&upper, &work] {
        make(path)?;
    }
    let mut lower: Vec<String> = image.layers.iter().rev().map(|path| escape(path)).collect();
    if lower.is_empty() {
        // An image without layers, such as `FROM scratch` with nothing added.
        let empty = dir.path().join("empty");
        make(&empty)?;
        lower.push(escape(&empty));
    }
    let mut options = vec![
        format!("lowerdir={}", lower.join(":")),
        format!("upperdir={}", escape(&upper)),
        format!("workdir={}", escape(&work)),
    ];
    options.extend(PLAIN.iter().map(|option| (*option).to_owned()));
    if options.iter().map(String::len).sum::<usize>() > MAX_OPTIONS {
        return Err(Error::unsupported(format!(
            "image {} has {} layers: too many for one mount",
            image.id,
            lower.len()
        )));
    }
    Ok(vec![mount("overlay", "overlay", "", options)])
}

fn make(path: &Path) -> Result<()> {
    let named = |err: std::io::Error| Error::internal(format!("{}: {err}", path.display()));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(named)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(named)
}

/// Overlayfs ends a path at `:` and an option at `,` unless escaped.
pub(super) fn escape(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Of a disk that mkfs has just made there is nothing to read ahead and nothing to
/// initialize (the kernel's `Documentation/admin-guide/ext4.rst`).
const EMPTY_DISK: &[&str] = &["no_prefetch_block_bitmaps", "noinit_itable"];

/// The hyperv wall's: mounted by the agent from disks that it finds by serial.
pub fn disks() -> Vec<RootMount> {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let overlay = [&["lowerdir=lower", "upperdir=scratch/upper", "workdir=scratch/work"], PLAIN].concat();
    vec![
        mount("erofs", "serial:rootfs", "lower", words(&["ro"])),
        mount("ext4", "serial:scratch", "scratch", words(EMPTY_DISK)),
        mount("overlay", "erofs+ext4", "", words(&overlay)),
    ]
}

fn mount(kind: &str, source: &str, target: &str, options: Vec<String>) -> RootMount {
    RootMount {
        type_: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options,
        ..RootMount::default()
    }
}
