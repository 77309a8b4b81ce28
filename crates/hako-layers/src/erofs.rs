//! One EROFS image of all layers of an image.
//!
//! The merged tree is a read-only overlay in a mount namespace that a thread of
//! its own enters; the namespace ends with that thread and with mkfs.erofs, so
//! that a kill at any point leaves no mount behind.

use crate::{Error, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Makes the EROFS image `out` of these layers, bottom first; none is an empty
/// root. Modes, owners, times, devices, hard links and attributes are kept.
/// `scratch` is an empty folder for the mounts, beside `out`.
///
/// # Errors
/// [`Error::NoProgram`] without mkfs.erofs; what the kernel or mkfs answered.
/// `out` may be half written then.
pub fn build_erofs(lowers: &[PathBuf], out: &Path, scratch: &Path) -> Result<()> {
    let (lowers, out, scratch) = (lowers.to_vec(), out.to_owned(), scratch.to_owned());
    let worker = std::thread::Builder::new().name("erofs".into()).spawn(move || build(&lowers, &out, &scratch));
    let worker = worker.map_err(Error::host("start a thread"))?;
    worker.join().map_err(|_| Error::Program { program: "mkfs.erofs", message: "the builder panicked".into() })?
}

fn build(lowers: &[PathBuf], out: &Path, scratch: &Path) -> Result<()> {
    let (empty, merged) = (scratch.join("empty"), scratch.join("merged"));
    for dir in [&empty, &merged] {
        fs::create_dir(dir).map_err(Error::host(format!("make {}", dir.display())))?;
    }
    if !lowers.is_empty() {
        mount_merged(lowers, &empty, &merged)?;
    }
    let mut mkfs = Command::new("mkfs.erofs");
    // -T would set every file to one time.
    mkfs.args(["--quiet", "--preserve-mtime", "-U00000000-0000-0000-0000-000000000000"]);
    mkfs.arg(out).arg(&merged);
    run(mkfs, "mkfs.erofs", "erofs-utils")
}

/// Runs on a thread of its own: from here on that thread sees another mount table.
fn mount_merged(lowers: &[PathBuf], empty: &Path, merged: &Path) -> Result<()> {
    let io = |what: &'static str| move |err: nix::errno::Errno| Error::Host { what: what.into(), source: err.into() };
    unshare(CloneFlags::CLONE_NEWNS).map_err(io("enter a mount namespace"))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(io("make mounts private"))?;
    let base = lowers.first().and_then(|dir| dir.parent()).unwrap_or(Path::new("/"));
    // Mount options are limited to one page: names relative to the layers'
    // folder are short. The working directory is this thread's alone by now.
    nix::unistd::chdir(base).map_err(io("enter the layers' folder"))?;
    let mut option = String::from("lowerdir=");
    for dir in lowers.iter().rev() {
        let short = if dir.parent() == Some(base) { dir.file_name().map(Path::new) } else { None };
        let name = short.unwrap_or(dir).to_str().filter(|n| !n.contains([':', ',', '\\']));
        let name = name.ok_or_else(|| Error::Unsupported(format!("layer folder {}", dir.display())))?;
        option.push_str(name);
        option.push(':');
    }
    // overlayfs wants two lower directories, also of an image with one layer.
    let empty = empty.to_str().filter(|n| !n.contains([':', ',', '\\']));
    option.push_str(empty.ok_or_else(|| Error::Unsupported("data root with : , or \\ in its name".into()))?);
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    mount(Some("overlay"), merged, Some("overlay"), flags, Some(option.as_str())).map_err(io("mount the merged layers"))
}

/// Runs a program that says something only when it fails.
pub(crate) fn run(mut command: Command, program: &'static str, package: &'static str) -> Result<()> {
    // mkfs lies in /sbin, which is not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")).stdin(Stdio::null());
    let output = command.output().map_err(|err| match err.kind() {
        ErrorKind::NotFound => Error::NoProgram { program, package },
        _ => Error::host(format!("run {program}"))(err),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let start = said.char_indices().rev().nth(800).map_or(0, |(i, _)| i);
    Err(Error::Program { program, message: format!("{}: {}", output.status, said[start..].trim()) })
}
