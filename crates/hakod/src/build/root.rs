//! The root filesystem of an image on this side of the wall, for its files
//! alone: nothing is executed, so that it needs no shim and no virtual machine.
//! It is mounted where nobody else sees it and goes with the last descriptor.

use hako_layers::files::{Overlay, Root, layer};
use hako_model::{Error, Result};
use hako_store::{Blob, Store};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An image's root.
pub struct ImageRoot {
    root: Root,
    /// Top first.
    lowers: Vec<PathBuf>,
    upper: PathBuf,
    _scratch: TempDir,
}

impl ImageRoot {
    /// Mounts `layers`, bottom first. What is written to it is a layer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(store: &Store, layers: &[PathBuf]) -> Result<Self> {
        let scratch = store.temp_dir()?;
        let make = |name: &str| -> Result<PathBuf> {
            let path = scratch.path().join(name);
            fs::DirBuilder::new().mode(0o755).create(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            Ok(path)
        };
        let (upper, work, at) = (make("upper")?, make("work")?, make("at")?);
        let mut lowers: Vec<PathBuf> = layers.iter().rev().cloned().collect();
        if lowers.is_empty() {
            lowers.push(make("empty")?);
        }
        let list: Vec<String> = lowers.iter().map(|path| escape(path)).collect();
        let options = [
            format!("lowerdir={}", list.join(":")),
            format!("upperdir={}", escape(&upper)),
            format!("workdir={}", escape(&work)),
            // The upper directory says by itself what was written.
            "redirect_dir=off".to_owned(),
            "metacopy=off".to_owned(),
        ];
        let root = hako_os::mount::overlay_root(&options, &at)
            .map_err(|err| Error::internal(format!("mount an image of {} layers: {err}", layers.len())))?;
        Ok(Self { root: Root::new(root), lowers, upper, _scratch: scratch })
    }

    /// Where its paths are resolved.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What was written, as a layer's tar, not in the store yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn layer(&self, store: &Store) -> Result<Blob> {
        let mut blob = store.write_blob(None, None)?;
        let overlay = Overlay::open(&self.upper, &self.lowers)?;
        layer(&overlay, &[], std::io::BufWriter::with_capacity(256 << 10, &mut blob))?;
        Ok(blob.finish()?)
    }
}

/// Overlayfs ends a path at `:` and an option at `,` unless escaped.
fn escape(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}
