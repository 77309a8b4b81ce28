//! podman, where it is installed: no daemon, its storage in the scratch folder,
//! and folders of the scratch folder over those that it writes to unasked.

use super::measure::{Row, Subject, timed};
use super::raw::without_hybrid;
use super::scratch::{Scratch, apart, program};
use super::work::Asked;
use crate::deb;
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `run` of a command in an image of this archive, or a row with the reason why not.
pub fn subject<'a>(scratch: &'a Scratch, asked: &Asked, archive: &Path, rows: &mut Vec<Row>) -> Option<Subject<'a>> {
    let made = program("podman").and_then(|podman| {
        apart(|| prepare(scratch), || deb::output(command(&podman, scratch).args(["load", "-i"]).arg(archive)))
            .map_err(|e| format!("{e:#}"))
            .map(|_| podman)
    });
    let asked = *asked;
    match made {
        Ok(podman) => Some(Subject::new("podman", move || run(&podman, scratch, &asked))),
        Err(reason) => {
            rows.push(Row::skipped(asked.work, "podman", "ms", &reason));
            None
        }
    }
}

/// The loading of an archive; the image is removed outside the measure.
pub fn load<'a>(scratch: &'a Scratch, archive: &'a Path, image: &'a str) -> Result<Subject<'a>, String> {
    let podman = program("podman")?;
    Ok(Subject::new("podman", move || {
        let mut line = command(&podman, scratch);
        line.args(["load", "--quiet", "--input"]).arg(archive);
        let millis = apart(|| prepare(scratch), || timed(&mut line))?;
        apart(|| prepare(scratch), || deb::output(command(&podman, scratch).args(["rmi", "--force", image])))?;
        Ok(millis)
    }))
}

fn run(podman: &Path, scratch: &Scratch, asked: &Asked) -> Result<f64> {
    // Its usual limits are above this machine's hard ones.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let mut line = command(&podman.to_path_buf(), scratch);
    line.args(["run", "--rm", "--network", "none", "--cgroup-parent"]).arg(format!("/{}/podman", scratch.cgroup));
    line.args(limits).arg(asked.image).args(asked.command);
    apart(|| prepare(scratch), || timed(&mut line))
}

/// Prepares podman's mount namespace. Binds, so that the next one sees the same.
fn prepare(scratch: &Scratch) -> Result<()> {
    without_hybrid()?;
    for (own, over) in [("p/shm", "/dev/shm"), ("p/run-of-all", "/run"), ("p/lib", "/var/lib")] {
        let own = scratch.path(own);
        fs::create_dir_all(&own)?;
        let none = None::<&str>;
        mount(Some(&own), over, none, MsFlags::MS_BIND, none).with_context(|| format!("mounting {over}"))?;
    }
    Ok(())
}

fn command(podman: &PathBuf, scratch: &Scratch) -> Command {
    let mut command = Command::new(podman);
    command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
    for (flag, folder) in [("--root", "p/data"), ("--runroot", "p/run"), ("--tmpdir", "p/tmp")] {
        command.arg(flag).arg(scratch.path(folder));
    }
    command.env("HOME", scratch.path("p"));
    command
}
