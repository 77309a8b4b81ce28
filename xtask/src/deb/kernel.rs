//! Debian's kernels: the image and the modules that an initramfs loads.

use super::Archive;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel and the modules to load, in order.
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// `uname -r`.
    pub release: String,
    /// How often it ticks (`CONFIG_HZ`).
    pub hz: Option<u64>,
    /// Module files, each after those that it depends on.
    pub modules: Vec<PathBuf>,
}

/// The kernel that the meta package `meta` stands for now, with `modules` and
/// what those depend on.
pub fn fetch(archive: Archive, meta: &str, modules: &[&str]) -> Result<Kernel> {
    let tree = archive.unpacked(&archive.dependency(meta, "linux-image-")?)?;
    let image = first(&tree.join("boot"), "vmlinuz-")?;
    let folder = first(&tree.join("lib/modules"), "")?;
    let release = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let config = tree.join("boot").join(format!("config-{release}"));
    let config = fs::read_to_string(&config).with_context(|| format!("reading {}", config.display()))?;
    let hz = config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")?.parse().ok());
    Ok(Kernel { image, release, hz, modules: in_order(modules, &index(&folder)?)? })
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

fn in_order(wanted: &[&str], index: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in wanted {
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
