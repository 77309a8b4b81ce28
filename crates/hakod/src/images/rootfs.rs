//! The forms of a root filesystem for the hyperv wall: an image's EROFS and a
//! container's empty ext4. Both are made on first use and then kept.

use super::{ImageService, ResolvedImage};
use hako_model::{Error, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

impl ImageService {
    pub(super) async fn rootfs_erofs_inner(&self, image: &ResolvedImage) -> Result<PathBuf> {
        let mut lease = self.store.lease();
        lease.hold(&image.chain);
        if let Some(path) = self.store.erofs(&image.chain) {
            return Ok(path);
        }
        let once = self.store.lock(&format!("erofs:{}", image.chain)).await;
        let (chain, layers) = (image.chain.clone(), image.layers.clone());
        self.blocking(move |store| {
            // Held until the build is done, whatever becomes of who asked for it.
            let _held = (lease, once);
            if let Some(path) = store.erofs(&chain) {
                return Ok(path);
            }
            let tmp = store.temp_dir()?;
            let out = tmp.path().join("image.erofs");
            hako_layers::build_erofs(&layers, &out, tmp.path())?;
            Ok(store.commit_erofs(&chain, &out)?)
        })
        .await
    }

    pub(super) async fn scratch_disk_inner(&self, size: u64, target: PathBuf) -> Result<()> {
        let empty = self.store.root().join("disks").join(format!("ext4-{size}.img"));
        let once = self.store.lock(&format!("ext4:{size}")).await;
        self.blocking(move |store| {
            let _held = once;
            if !empty.is_file() {
                let tmp = store.temp_dir()?;
                let made = tmp.path().join("disk.img");
                // The first thing that a container would have to wait for otherwise.
                let folder = tmp.path().join("scratch");
                for name in ["upper", "work"] {
                    fs::create_dir_all(folder.join(name))?;
                    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
                    std::os::unix::fs::chown(folder.join(name), Some(0), Some(0))?;
                }
                hako_layers::ext4_of(&folder, size, &made)?;
                publish(&made, &empty)?;
            }
            // An engine that is killed meanwhile leaves no half a disk that would be taken for a whole one.
            let part = target.with_extension("part");
            if part.exists() {
                fs::remove_file(&part)?;
            }
            hako_layers::sparse_copy(&empty, &part)?;
            Ok(fs::rename(&part, &target)?)
        })
        .await
    }
}

/// A half written disk must never have the name.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let named = fs::File::open(from).and_then(|file| file.sync_all()).and_then(|()| fs::rename(from, to));
    named.map_err(|err| Error::internal(format!("{}: {err}", to.display())))
}
