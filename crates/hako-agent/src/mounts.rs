//! The container's root filesystem in the guest: disks found by serial,
//! mounted in the bundle.

use crate::shares;
use hako_model::{Error, Result};
use hako_sandbox::Mount;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};
use tokio::task::{JoinHandle, spawn_blocking};

/// How long a disk may take to be found.
const DEADLINE: Duration = Duration::from_secs(5);

/// Begins the source of a mount that is a disk.
const SERIAL: &str = "serial:";

/// Words of mount options that are flags.
const FLAGS: &[(&str, MsFlags)] = &[
    ("ro", MsFlags::MS_RDONLY),
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("sync", MsFlags::MS_SYNCHRONOUS),
    ("bind", MsFlags::MS_BIND),
    ("rbind", MsFlags::MS_BIND.union(MsFlags::MS_REC)),
];

/// Directories of the overlay that are in the bundle and made if missing.
const MADE: &[&str] = &["upperdir", "workdir"];

/// Disks by their serials, if the machine is one that is saved and copied.
static DISKS: OnceLock<HashMap<String, OsString>> = OnceLock::new();

/// Mounts of one container, taken apart by [`Mounted::undo`].
#[derive(Debug, Default)]
pub struct Mounted(Vec<PathBuf>);

/// Mounts that are being made.
#[derive(Debug)]
pub struct Mounting {
    /// The disks at the list's begin, at the same time: each waits for its device.
    disks: Vec<JoinHandle<Result<PathBuf>>>,
    rest: Vec<Mount>,
    bundle: PathBuf,
}

impl Mounting {
    /// Begins to mount `list`, relative to `bundle`.
    pub fn begin(list: &[Mount], bundle: &Path) -> Self {
        let (disks, rest) = list.split_at(disks_first(list));
        let begin = |disk: &Mount| {
            let (disk, bundle) = (disk.clone(), bundle.to_owned());
            spawn_blocking(move || mount_one(&disk, &bundle))
        };
        Self { disks: disks.iter().map(begin).collect(), rest: rest.to_vec(), bundle: bundle.to_owned() }
    }

    /// Waits for the disks and mounts the rest in order. On an error nothing is mounted.
    pub async fn end(self) -> Result<Mounted> {
        let lost = |err: tokio::task::JoinError| Error::internal(format!("mount: {err}"));
        let mut mounted = Mounted::default();
        let mut done = Ok(());
        for disk in self.disks {
            let one = disk.await.map_err(lost).flatten();
            done = done.and(one.map(|target| mounted.0.push(target)));
        }
        let finish = move || {
            let mut rest = self.rest.iter();
            while let (Ok(()), Some(entry)) = (&done, rest.next()) {
                done = mount_one(entry, &self.bundle).map(|target| mounted.0.push(target));
            }
            if done.is_err() {
                // The mount's own failure is what the caller must hear of.
                let _ = mounted.undo();
            }
            done.map(|()| mounted)
        };
        spawn_blocking(finish).await.map_err(lost)?
    }
}

impl Mounted {
    /// Unmounts in reverse order, on past errors, and reports the first.
    pub fn undo(&mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(target) = self.0.pop() {
            if let Err(err) = umount2(&target, MntFlags::empty()) {
                // A process may still hold it; a lazy unmount is at least out of sight.
                let _ = umount2(&target, MntFlags::MNT_DETACH);
                let failed = Err(Error::internal(format!("unmount {}: {err}", target.display())));
                first = first.and(failed);
            }
        }
        first
    }
}

/// How many of the first are disks, none of them below another.
fn disks_first(list: &[Mount]) -> usize {
    let is_disk = |mount: &&Mount| mount.source.starts_with(SERIAL);
    let disks = &list[..list.iter().take_while(is_disk).count()];
    let below = |one: &Mount, other: &Mount| Path::new(&one.target).starts_with(&other.target);
    let apart = disks
        .iter()
        .enumerate()
        .all(|(n, one)| disks.iter().enumerate().all(|(other, two)| n == other || !below(one, two)));
    if apart { disks.len() } else { 0 }
}

fn mount_one(entry: &Mount, bundle: &Path) -> Result<PathBuf> {
    let name = if entry.target.is_empty() { "rootfs" } else { &entry.target };
    let target = inside(bundle, name)?;
    make_dir(&target)?;
    let source = match entry.source.strip_prefix(SERIAL) {
        Some(serial) => disk(serial)?,
        None => PathBuf::from(&entry.source),
    };
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in &entry.options {
        match FLAGS.iter().find(|(word, _)| word == option) {
            Some((_, flag)) => flags |= *flag,
            None if option == "rw" => {}
            None => data.push(in_bundle(option, bundle)?),
        }
    }
    if entry.kind == shares::KIND {
        shares::mount(&entry.source, &target)?;
        return Ok(target);
    }
    let data = data.join(",");
    mount(Some(&source), &target, Some(entry.kind.as_str()), flags, Some(data.as_str())).map_err(|err| {
        Error::internal(format!("mount {} {} on {}: {err}", entry.kind, entry.source, target.display()))
    })?;
    Ok(target)
}

/// An overlay's directories with their place in the guest.
fn in_bundle(option: &str, bundle: &Path) -> Result<String> {
    let Some((key, value)) = option.split_once('=') else { return Ok(option.to_owned()) };
    if key != "lowerdir" && !MADE.contains(&key) {
        return Ok(option.to_owned());
    }
    let mut places = Vec::new();
    for part in value.split(':') {
        let place = inside(bundle, part)?;
        if MADE.contains(&key) {
            make_dir(&place)?;
        }
        places.push(place.display().to_string());
    }
    Ok(format!("{key}={}", places.join(":")))
}

/// `name` under `bundle`, if it stays there. An absolute name is taken as it is.
fn inside(bundle: &Path, name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.is_absolute() || (!name.is_empty() && path.components().all(plain)) {
        return Ok(bundle.join(path));
    }
    Err(Error::invalid(format!("{name:?} is no place in the bundle")))
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|err| Error::internal(format!("create {}: {err}", path.display())))
}

/// The device of the disk that says `serial`.
fn disk(serial: &str) -> Result<PathBuf> {
    let start = Instant::now();
    loop {
        if let Some(disk) = disk_now(serial)? {
            return Ok(disk);
        }
        if start.elapsed() > DEADLINE {
            return Err(Error::not_found(format!("no disk has the serial {serial:?}")));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The disk with this serial, if the kernel has found it.
pub fn disk_now(serial: &str) -> io::Result<Option<PathBuf>> {
    if let Some(name) = DISKS.get().and_then(|disks| disks.get(serial)) {
        return Ok(Some(Path::new("/dev").join(name)));
    }
    let found = all_disks()?.find(|name| serial_of(name) == serial);
    Ok(found.map(|name| Path::new("/dev").join(name)))
}

/// Learns where each disk is: asking one for its serial is a request to it. The
/// disks of a template's copies are those of the template by place and serial.
pub fn learn_disks() -> io::Result<()> {
    let known = all_disks()?.map(|name| (serial_of(&name), name)).collect();
    // The first look is as good as another.
    let _ = DISKS.set(known);
    Ok(())
}

fn all_disks() -> io::Result<impl Iterator<Item = OsString>> {
    Ok(fs::read_dir("/sys/block")?.flatten().map(|entry| entry.file_name()))
}

fn serial_of(name: &OsStr) -> String {
    let mut text = fs::read_to_string(Path::new("/sys/block").join(name).join("serial")).unwrap_or_default();
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::{disks_first, inside};
    use hako_sandbox::Mount;
    use std::path::Path;

    #[test]
    fn disks_that_are_mounted_at_once() {
        let mount = |source: &str, target: &str| Mount {
            kind: "ext4".into(),
            source: source.into(),
            target: target.into(),
            options: Vec::new(),
        };
        let [lower, scratch] = [mount("serial:rootfs", "lower"), mount("serial:scratch", "scratch")];
        let overlay = mount("overlay", "");
        assert_eq!(disks_first(&[lower.clone(), scratch.clone(), overlay.clone()]), 2);
        assert_eq!(disks_first(&[overlay, lower.clone()]), 0);
        assert_eq!(disks_first(&[lower.clone(), mount("serial:volume", "lower/data"), scratch]), 0);
        assert_eq!(disks_first(&[lower.clone(), lower]), 0);
        assert_eq!(disks_first(&[]), 0);
    }

    #[test]
    fn names_stay_in_the_bundle() {
        let bundle = Path::new("/run/hako/x");
        assert_eq!(inside(bundle, "scratch/upper").unwrap(), Path::new("/run/hako/x/scratch/upper"));
        for bad in ["", "..", "a/../../b", "./a"] {
            assert!(inside(bundle, bad).is_err(), "{bad}");
        }
    }
}
