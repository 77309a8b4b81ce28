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
    let mut new = false;
    for part in below {
        delegate(&current)?;
        current.push(part);
        new = make_dir(&current)?;
    }
    if !new {
        // A kernel older than 5.2 has no such file, and no frozen group either.
        let _ = fs::write(current.join("cgroup.freeze"), "0");
    }
    Ok(())
}

/// Gives the children of `parent` the controllers that they do not have yet: at
/// once, or those of them that can be given.
fn delegate(parent: &Path) -> io::Result<()> {
    let control = parent.join("cgroup.subtree_control");
    let (all, given) = (fs::read_to_string(parent.join("cgroup.controllers"))?, fs::read_to_string(&control)?);
    let is_given = |name: &str| given.split_whitespace().any(|given| given == name);
    let missing: Vec<String> =
        all.split_whitespace().filter(|name| !is_given(name)).map(|name| format!("+{name}")).collect();
    if !missing.is_empty() && fs::write(&control, missing.join(" ")).is_err() {
        // One that threads forbid, or that is taken away meanwhile, is missed
        // where a limit needs it.
        for one in missing {
            let _ = fs::write(&control, one);
        }
    }
    Ok(())
}

/// Whether it was not there.
fn make_dir(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(err) => Err(err),
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
