//! Mounts of a container's root filesystem.

use crate::Mount;
use hako_model::{Error, Result};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What was mounted, in order.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Mounts all of the list in order; on an error none stays.
    pub(super) fn mount(bundle: &Path, list: &[Mount]) -> Result<Self> {
        let mut done = Self::default();
        for mount in list {
            if let Err(err) = done.add(bundle, mount) {
                // The error that came first says why.
                let _ = done.unmount();
                return Err(err);
            }
        }
        Ok(done)
    }

    fn add(&mut self, bundle: &Path, mount: &Mount) -> Result<()> {
        let named = |err: io::Error| Error::internal(format!("mount {} on {}: {err}", mount.kind, mount.target()));
        let target = bundle.join(mount.target());
        if mount.kind == HOST {
            return self.host(mount, target).map_err(named);
        }
        if mount.kind == SHARED {
            make_dir(&target).map_err(named)?;
            share(&mount.source, &target).map_err(named)?;
            self.0.push(target);
            return Ok(());
        }
        let source = match mount.source.strip_prefix("serial:") {
            Some(serial) => hako_os::mount::disk_by_serial(serial).map_err(named)?.to_string_lossy().into_owned(),
            None => mount.source.clone(),
        };
        let options: Vec<String> = mount.options.iter().map(|option| in_bundle(bundle, option)).collect();
        make_dir(&target).map_err(named)?;
        for option in &options {
            if let Some(dir) = option.strip_prefix("upperdir=").or_else(|| option.strip_prefix("workdir=")) {
                make_dir(Path::new(dir)).map_err(named)?;
            }
        }
        hako_os::mount::mount(&mount.kind, &source, &target, &options).map_err(named)?;
        self.0.push(target);
        Ok(())
    }

    /// Something of the host's, for which a bind of the container's spec stands
    /// in the bundle: found where the engine sees it, and propagating as asked.
    fn host(&mut self, mount: &Mount, target: PathBuf) -> io::Result<()> {
        let (pid, start, path) = place(&mount.source)?;
        let option = |key: &str| mount.options.iter().find_map(|option| option.strip_prefix(key));
        let beneath = option("beneath=").map(Path::new);
        let recursive = mount.options.iter().any(|option| option == "rbind");
        let tree = hako_os::mount::foreign::clone_beneath(pid, start, path, beneath, recursive);
        let tree = tree.map_err(|err| match beneath {
            Some(beneath) if err.kind() == io::ErrorKind::CrossesDevices => {
                io::Error::other(format!("{} leads out of {}", beneath.display(), path.display()))
            }
            _ => io::Error::new(err.kind(), format!("{}: {err}", path.display())),
        })?;
        let tree = fs::File::from(tree);
        if tree.metadata()?.is_dir() {
            make_dir(&target)?;
        } else {
            fs::write(&target, "")?;
        }
        hako_os::mount::foreign::attach(&tree.into(), &target)?;
        self.0.push(target.clone());
        match option("propagation=") {
            // As those that it is a copy of.
            None | Some("shared" | "rshared") => Ok(()),
            Some(word) => hako_os::mount::propagate(&target, word),
        }
    }

    /// Unmounts all, the last first. What cannot be unmounted stays in the list.
    pub(super) fn unmount(&mut self) -> Result<()> {
        let mut errors = Vec::new();
        let mut stay = Vec::new();
        while let Some(target) = self.0.pop() {
            // What is mounted below it is unmounted with it, and nowhere else.
            // Where nothing is mounted any more this fails, and is not needed.
            let _ = hako_os::mount::propagate(&target, "rprivate");
            if let Err(err) = hako_os::mount::unmount(&target) {
                errors.push(format!("unmount {}: {err}", target.display()));
                stay.insert(0, target);
            }
        }
        self.0 = stay;
        if errors.is_empty() { Ok(()) } else { Err(Error::internal(errors.join("; "))) }
    }
}

impl Mount {
    /// Where, relative to the bundle.
    pub(super) fn target(&self) -> &str {
        if self.target.is_empty() { "rootfs" } else { &self.target }
    }
}

/// The kind of a mount that is another container's: the source is
/// `<pid>=<start>:<path>`, of that container's first process and when it began.
const SHARED: &str = "shared";

fn share(source: &str, target: &Path) -> io::Result<()> {
    let (pid, start, path) = place(source)?;
    let mount = hako_os::mount::foreign::clone_of(pid, start, path)?;
    hako_os::mount::foreign::attach(&mount, target)
}

/// The kind of a mount that is a folder or a file of the host: the source is
/// the same, of the engine. Options: `rbind`, `propagation=<word>`, and
/// `beneath=<path>` for what lies below the source and must not lead out of it.
const HOST: &str = "host";

/// `<pid>=<start>:<path>`.
fn place(source: &str) -> io::Result<(i32, u64, &Path)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("malformed source {source:?}"));
    let (process, path) = source.split_once(':').ok_or_else(bad)?;
    let (pid, start) = process.split_once('=').ok_or_else(bad)?;
    Ok((pid.parse().map_err(|_| bad())?, start.parse().map_err(|_| bad())?, Path::new(path)))
}

/// A folder with the mode that a root directory has, whatever the umask.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// An overlay's directories that are relative are in the bundle.
fn in_bundle(bundle: &Path, option: &str) -> String {
    let absolute = |dir: &str| bundle.join(dir).to_string_lossy().into_owned();
    match option.split_once('=') {
        Some(("lowerdir", dirs)) => format!("lowerdir={}", dirs.split(':').map(absolute).collect::<Vec<_>>().join(":")),
        Some((key @ ("upperdir" | "workdir"), dir)) => format!("{key}={}", absolute(dir)),
        _ => option.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_directories_move_into_the_bundle() {
        let bundle = Path::new("/b");
        assert_eq!(in_bundle(bundle, "lowerdir=lower:/x/1"), "lowerdir=/b/lower:/x/1");
        assert_eq!(in_bundle(bundle, "upperdir=scratch/upper"), "upperdir=/b/scratch/upper");
        assert_eq!(in_bundle(bundle, "metacopy=on"), "metacopy=on");
    }
}
