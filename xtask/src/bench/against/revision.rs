//! The programs of a revision, built in a worktree of git outside of the tree
//! and kept in the cache by its commit.
//!
//! ```text
//! <cache>/hako/against/lock       one build at a time
//!                      tree       the worktree: the same place each time, so that the
//!                                 target folder is of use; removed at the end
//!                      target     of cargo, for every revision
//!                      <commit>   hakod, hako, …, guest/: what is measured
//! ```

use crate::{deb, programs};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a revision's folder has. The others are its guest's, below `guest`.
const PROGRAMS: [&str; 5] = ["hakod", "hako", "hako-shim", "hako-runtime", "hako-agent"];
/// Written last: the folder is whole.
const WHOLE: &str = "whole";
/// Revisions that are kept.
const KEPT: usize = 4;

/// A revision that was built.
pub struct Built {
    /// Its commit.
    pub commit: String,
    /// Where its programs lie.
    pub programs: PathBuf,
}

/// Builds it, or finds it built.
pub fn built(revision: &str) -> Result<Built> {
    let commit = git(&["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")])
        .with_context(|| format!("{revision:?} is no revision"))?;
    let cache = programs::cache_dir()?.join("against");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("making a lock file")?;
    lock.lock().context("waiting for another build of a revision")?;
    let programs = cache.join(&commit);
    if !programs.join(WHOLE).exists() {
        build(&cache, &commit, &programs)?;
    }
    // The latest used are kept.
    File::create(programs.join(WHOLE)).context("marking a build as whole")?;
    forget(&cache)?;
    Ok(Built { commit, programs })
}

fn build(cache: &Path, commit: &str, programs: &Path) -> Result<()> {
    eprintln!("building {commit}: minutes, if little of it is in the cache");
    let tree = Worktree::new(cache.join("tree"), commit)?;
    let target = cache.join("target");
    let mut cargo = programs::cargo()?;
    cargo.current_dir(&tree.0).env("CARGO_TARGET_DIR", &target);
    programs::run(cargo.args(["build", "--release", "--locked", "--workspace", "--bins"]))?;
    let out = release(&target)?;
    // Its own xtask makes its guest, beside itself.
    let mut xtask = Command::new(out.join("xtask"));
    programs::run(xtask.current_dir(&tree.0).args(["guest", "--no-build"]))?;
    let part = cache.join("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(part.join("guest")).context("making a folder for programs")?;
    for name in PROGRAMS {
        fs::copy(out.join(name), part.join(name)).with_context(|| format!("copying {name}"))?;
    }
    for file in fs::read_dir(out.join("guest")).context("reading the guest's folder")? {
        let file = file?.path();
        fs::copy(&file, part.join("guest").join(file.file_name().unwrap_or_default()))?;
    }
    let _ = fs::remove_dir_all(programs);
    fs::rename(&part, programs).context("moving the programs into the cache")?;
    tree.remove()
}

/// Where cargo has put the programs: with a named target below its name.
fn release(target: &Path) -> Result<PathBuf> {
    let named = fs::read_dir(target)?.filter_map(|entry| Some(entry.ok()?.path().join("release")));
    let all = named.chain([target.join("release")]).filter(|folder| folder.join("hakod").is_file());
    let latest = all.max_by_key(|folder| folder.join("hakod").metadata().and_then(|meta| meta.modified()).ok());
    latest.with_context(|| format!("no hakod below {}", target.display()))
}

/// Removes all but the latest builds.
fn forget(cache: &Path) -> Result<()> {
    let mut builds: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(cache)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.join(WHOLE).metadata().ok()?.modified().ok()?, path))
        })
        .collect();
    builds.sort();
    builds.reverse();
    builds
        .iter()
        .skip(KEPT)
        .try_for_each(|(_, path)| fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display())))
}

/// A worktree. Dropped, it is removed.
struct Worktree(PathBuf);

impl Worktree {
    fn new(path: PathBuf, commit: &str) -> Result<Self> {
        let tree = Self(path);
        // Of one that was killed.
        let _ = tree.remove_now();
        let text = tree.0.display().to_string();
        git(&["worktree", "add", "--force", "--detach", &text, commit])?;
        Ok(tree)
    }

    fn remove_now(&self) -> Result<()> {
        let text = self.0.display().to_string();
        let removed = git(&["worktree", "remove", "--force", "--force", &text]);
        if self.0.exists() {
            fs::remove_dir_all(&self.0).with_context(|| format!("removing {text}"))?;
            git(&["worktree", "prune"])?;
            return Ok(());
        }
        removed.map(drop)
    }

    fn remove(self) -> Result<()> {
        let result = self.remove_now();
        std::mem::forget(self);
        result
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let _ = self.remove_now();
    }
}

fn git(args: &[&str]) -> Result<String> {
    let found = programs::find("git").context("git is not installed")?;
    let mut command = Command::new(found);
    command.current_dir(programs::workspace()?).args(args);
    Ok(deb::output(&mut command)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{KEPT, WHOLE, forget, release};
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_latest_builds_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        for number in 0..6 {
            let build = dir.path().join(number.to_string());
            fs::create_dir(&build).unwrap();
            let mark = File::create(build.join(WHOLE)).unwrap();
            mark.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(100 - number)).unwrap();
        }
        forget(dir.path()).unwrap();
        assert!(dir.path().join("target").exists());
        let kept: Vec<bool> = (0..6).map(|number| dir.path().join(number.to_string()).exists()).collect();
        assert_eq!(kept, [true, true, true, true, false, false]);
        assert_eq!(KEPT, 4);
    }

    #[test]
    fn programs_are_found_below_a_named_target() {
        let dir = tempfile::tempdir().unwrap();
        assert!(release(dir.path()).is_err());
        let folder = dir.path().join("x86_64-unknown-linux-gnu/release");
        fs::create_dir_all(&folder).unwrap();
        File::create(folder.join("hakod")).unwrap();
        assert_eq!(release(dir.path()).unwrap(), folder);
    }
}
