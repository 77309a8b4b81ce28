//! The outer machine's kernel: Debian's own, with the modules that its
//! initramfs must load before the root filesystem is there.

use crate::deb;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What the outer machine needs: the way to its root filesystem and disks (9p,
/// virtio, ext4), what an engine's host has (overlay, tun), and KVM on the
/// emulated SVM. `crc32c_generic` is asked for by ext4 by name, not by symbol.
const WANTED: [&str; 13] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
    "overlay",
    "loop",
    "tun",
    "kvm",
    "kvm_amd",
];

/// A kernel and the modules to load, in order.
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// Module files, each after those that it depends on.
    pub modules: Vec<PathBuf>,
}

/// Debian's standard kernel, from the cache or from the archive. (The cloud
/// kernel has no 9p.)
pub fn fetch() -> Result<Kernel> {
    let package = deb::dependency("linux-image-amd64", "linux-image-")?;
    let tree = deb::unpacked(&package)?;
    let image = first(&tree.join("boot"), "vmlinuz-")?;
    let release = first(&tree.join("lib/modules"), "")?;
    Ok(Kernel { image, modules: in_order(&index(&release)?)? })
}

fn first(dir: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("no {prefix}* in {}", dir.display()))
}

/// Every module by its name as the kernel writes it, with underscores.
fn index(release: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(release.join("kernel")) {
        let path = entry.context("reading the kernel's modules")?.into_path();
        if path.extension().is_some_and(|ext| ext == "ko")
            && let Some(stem) = path.file_stem()
        {
            found.insert(stem.to_string_lossy().replace('-', "_"), path);
        }
    }
    Ok(found)
}

fn in_order(index: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in WANTED {
        visit(name, index, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    index: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let path = index.get(name).with_context(|| format!("the kernel package has no module {name}"))?;
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    for needed in depends(&bytes) {
        visit(&needed, index, seen, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// The names in a module's `depends=` note. (The package brings no
/// `modules.dep`: that is made when it is installed.)
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else {
        return Vec::new();
    };
    let rest = &module[at + KEY.len()..];
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn depends_note_is_read() {
        assert_eq!(depends(b"x\0depends=kvm,ccp-x\0retpoline=Y\0"), ["kvm", "ccp_x"]);
        assert!(depends(b"x\0depends=\0").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
