//! The Python packages that tests drive the engine with: an environment in the
//! cache folder, one for each list of packages and version of Python.

use crate::programs::{self, cache_dir, workspace};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{fs, process::Command};

const LIST: &str = "tests/python/requirements.txt";

/// Makes `tools/python-<key>` unless it is there.
pub fn packages() -> Result<()> {
    let list = workspace()?.join(LIST);
    let text = fs::read(&list).with_context(|| format!("{}", list.display()))?;
    let python = programs::find("python3").context("the tests need python3")?;
    let version = Command::new(&python).arg("--version").output().context("python3 --version")?.stdout;
    let key = hex::encode(Sha256::new().chain_update(&text).chain_update(&version).finalize());
    let tools = cache_dir()?.join("tools");
    let target = tools.join(format!("python-{}", &key[..16]));
    if target.join("ready").is_file() {
        return Ok(());
    }
    eprintln!("xtask: making a Python environment of {LIST}");
    fs::create_dir_all(&tools).with_context(|| format!("{}", tools.display()))?;
    // An environment names its own folder in its programs, so it is made in place.
    // One that is not ready, or of an older list, is of no use.
    for entry in fs::read_dir(&tools)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("python-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    programs::run(Command::new(&python).args(["-m", "venv"]).arg(&target))?;
    let mut pip = Command::new(target.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&list);
    programs::run(&mut pip)?;
    fs::write(target.join("ready"), "").context("mark the Python environment as ready")
}
