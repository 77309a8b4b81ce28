//! Making a group so that its parent may be removed meanwhile, and so that
//! limits can be set on it.

use super::{Cgroup, Hierarchy, hierarchies};
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// How often a parent may vanish under us before that is an error.
const ROUNDS: u32 = 100;

/// Makes the group at `path` (an OCI `cgroupsPath`): in every hierarchy with a
/// controller of version 1, or in version 2's where that is alone. A group that
/// is there already is taken, thawed.
///
/// # Errors
/// `InvalidInput` for a path that leads elsewhere, else the kernel's.
pub fn make(path: &str) -> io::Result<Cgroup> {
    let below = relative(path)?;
    let all = hierarchies()?;
    let legacy = all.iter().any(Hierarchy::controls);
    let mut made = Cgroup::default();
    for hierarchy in all {
        let wanted = if legacy { hierarchy.controls() } else { hierarchy.controllers.is_empty() };
        let dir = hierarchy.mountpoint.join(&below);
        let twice = made.v1.iter().any(|(_, other)| *other == dir) || made.v2.as_ref() == Some(&dir);
        if !wanted || twice {
            continue;
        }
        patiently(|| if legacy { legacy_group(&hierarchy, &below) } else { unified_group(&hierarchy, &below) })
            .map_err(|err| io::Error::new(err.kind(), format!("make cgroup {}: {err}", dir.display())))?;
        if legacy {
            made.v1.push((hierarchy.controllers, dir));
        } else {
            made.v2 = Some(dir);
        }
    }
    Ok(made)
}

fn relative(path: &str) -> io::Result<PathBuf> {
    let below: PathBuf = Path::new(path).components().filter(|part| *part != Component::RootDir).collect();
    let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    if below.as_os_str().is_empty() || !plain {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid cgroupsPath: {path}")));
    }
    Ok(below)
}

/// Whoever deletes a sibling removes the empty parent, perhaps between our two
/// steps: then both are made again.
fn patiently(step: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut rounds = 0;
    loop {
        match step() {
            Err(err) if err.kind() == io::ErrorKind::NotFound && rounds < ROUNDS => rounds += 1,
            done => return done,
        }
    }
}

fn legacy_group(hierarchy: &Hierarchy, below: &Path) -> io::Result<()> {
    let cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
    let mut current = hierarchy.mountpoint.clone();
    for part in below {
        let parent = current.clone();
        current.push(part);
        make_dir(&current)?;
        if cpuset {
            // A new group has neither, and takes no process before it has.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                inherit(&parent.join(file), &current.join(file))?;
            }
        }
    }
    let freezer = current.join("freezer.state");
    if freezer.exists() {
        // Left by a container that was frozen when its runtime died: whoever
        // joins it would stop.
        fs::write(freezer, "THAWED")?;
    }
    Ok(())
}

fn inherit(from: &Path, to: &Path) -> io::Result<()> {
    if fs::read_to_string(to)?.trim().is_empty() {
        fs::write(to, fs::read_to_string(from)?.trim())?;
    }
    Ok(())
}

fn unified_group(hierarchy: &Hierarchy, below: &Path) -> io::Result<()> {
    let mut current = hierarchy.mountpoint.clone();
    for part in below {
        // A controller that the parent lacks, or that threads forbid, is missed
        // where a limit needs it.
        let controllers = fs::read_to_string(current.join("cgroup.controllers"))?;
        for controller in controllers.split_whitespace() {
            let _ = fs::write(current.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        current.push(part);
        make_dir(&current)?;
    }
    // A kernel older than 5.2 has no such file, and no frozen group either.
    let _ = fs::write(current.join("cgroup.freeze"), "0");
    Ok(())
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_lead_out() {
        for bad in ["/a/../../b", "/", "", "./.."] {
            assert!(relative(bad).is_err(), "{bad}");
        }
        assert_eq!(relative("/hako/x").unwrap(), Path::new("hako/x"));
    }
}
