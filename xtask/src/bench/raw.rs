//! Runtimes without an engine: `unshare`, `crun` and `runc` on one bundle.

use super::image;
use super::measure::{Row, Subject, timed};
use super::scratch::{Scratch, apart, program};
use crate::programs;
use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// crun 1.8 refuses the hybrid layout of cgroups, which this mount makes.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// The raw subjects of `true` that can run here; the others are rows with the reason.
pub fn subjects<'a>(scratch: &'a Scratch, rows: &mut Vec<Row>) -> Result<Vec<Subject<'a>>> {
    let root = scratch.path("bundle/rootfs");
    image::busybox_tree(&root)?;
    let mut found = vec![Subject::new("unshare", move || {
        let mut command = Command::new("unshare");
        command.args(["--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "chroot"]);
        timed(command.arg(&root).arg("/bin/true"))
    })];
    let Some(runc) = runc("run", scratch, "bundle", &["/bin/true"], rows)? else { return Ok(found) };
    match program("crun") {
        Ok(crun) => found.push(Subject::new("crun", move || {
            apart(without_hybrid, || timed(&mut oci(&crun, scratch, "crun", "bundle")))
        })),
        Err(reason) => rows.push(Row::skipped("run", "crun", "ms", &reason)),
    }
    found.push(runc);
    Ok(found)
}

/// runc on the bundle in `folder`, whose root filesystem is there.
pub fn runc<'a>(
    work: &'static str,
    scratch: &'a Scratch,
    folder: &'static str,
    args: &[&str],
    rows: &mut Vec<Row>,
) -> Result<Option<Subject<'a>>> {
    let runc = match super::engine::runc() {
        Ok(runc) => runc,
        Err(reason) => {
            rows.push(Row::skipped(work, "runc", "ms", &format!("{reason:#}")));
            return Ok(None);
        }
    };
    bundle(&runc, scratch, folder, args)?;
    Ok(Some(Subject::new("runc", move || timed(&mut oci(&runc, scratch, "runc", folder)))))
}

/// Prepares a mount namespace for programs that refuse the hybrid layout.
pub fn without_hybrid() -> Result<()> {
    if Path::new(UNIFIED).join("cgroup.procs").exists() {
        umount2(UNIFIED, MntFlags::MNT_DETACH).context("unmounting the hybrid hierarchy")?;
    }
    Ok(())
}

/// Makes the bundle: what `runc spec` writes, with these words and without a tty.
fn bundle(runc: &Path, scratch: &Scratch, folder: &str, args: &[&str]) -> Result<()> {
    let dir = scratch.path(folder);
    programs::run(Command::new(runc).arg("spec").arg("--bundle").arg(&dir))?;
    let file = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(args);
    config["linux"]["cgroupsPath"] = format!("/{}/raw", scratch.cgroup).into();
    fs::write(&file, config.to_string()).context("writing the bundle")
}

fn oci(runtime: &PathBuf, scratch: &Scratch, name: &str, folder: &str) -> Command {
    let mut command = Command::new(runtime);
    command.arg("--root").arg(scratch.path(&format!("{name}-root")));
    command.args(["run", "--bundle"]).arg(scratch.path(folder)).arg(format!("{}-{name}", scratch.cgroup));
    command
}
