//! Programs and folders that several tasks use.

use anyhow::{Context, Result};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The program `name` on the path, with the administrator's folders added.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Whether a program (a bare name) or a file (an absolute path) is there.
pub fn is_there(what: &str) -> bool {
    if what.starts_with('/') { Path::new(what).exists() } else { find(what).is_some() }
}

/// `$XDG_CACHE_HOME/hako`, by default `~/.cache/hako`.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        _ => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("hako"))
}

/// The workspace's folder.
pub fn workspace() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in no workspace")?.to_path_buf())
}

/// Where the workspace's programs are built: beside this one.
pub fn bin_dir() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    Ok(exe.parent().context("a program in no folder")?.to_path_buf())
}

/// `cargo`, in the workspace.
pub fn cargo() -> Result<Command> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()?);
    Ok(cargo)
}

/// Runs `command` and fails unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    anyhow::ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// Builds every program of the workspace.
pub fn build() -> Result<()> {
    run(cargo()?.args(["build", "--release", "--locked", "--workspace", "--bins"]))
}
