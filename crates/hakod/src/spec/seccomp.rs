//! Compiled seccomp filters: one per profile, set of capabilities and target,
//! kept in the data root.

use hako_model::{Error, Result, policy};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{io::AsyncWriteExt, process::Command, sync::Mutex};

/// The cache. The lock also keeps two starts from compiling the same.
pub struct SeccompCache {
    dir: PathBuf,
    runtime: PathBuf,
    known: Mutex<HashMap<String, PathBuf>>,
}

/// Where a filter is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The kernel's first two numbers.
    pub kernel: (u32, u32),
    /// Go's name of the processors.
    pub architecture: &'static str,
}

/// What `--security-opt seccomp=` says.
enum Profile<'a> {
    Default,
    Unconfined,
    Custom(&'a str),
}

impl SeccompCache {
    /// Filters in `dir`, compiled by `runtime`.
    #[must_use]
    pub fn new(dir: PathBuf, runtime: PathBuf) -> Self {
        Self { dir, runtime, known: Mutex::default() }
    }

    /// The filter for a container that says `seccomp=<said>`; `None` where it is unconfined.
    ///
    /// # Errors
    /// A profile that makes no sense, or a runtime that does not compile it.
    pub async fn filter(
        &self,
        said: Option<&str>,
        privileged: bool,
        caps: &[String],
        target: Target,
    ) -> Result<Option<PathBuf>> {
        let profile = match choose(said, privileged) {
            Profile::Unconfined => return Ok(None),
            Profile::Default => None,
            Profile::Custom(text) => Some(text),
        };
        let Target { kernel, architecture } = target;
        let key = format!("{kernel:?} {architecture} {} {}", caps.join(","), profile.unwrap_or_default());
        let mut known = self.known.lock().await;
        if let Some(path) = known.get(&key) {
            return Ok(Some(path.clone()));
        }
        let resolved = match profile {
            None => policy::seccomp_profile(caps, kernel, architecture),
            Some(text) => policy::resolve_seccomp(text, caps, kernel, architecture)?,
        };
        let json = resolved.to_string();
        let digest = Sha256::new().chain_update(architecture).chain_update(&json).finalize();
        let path = self.dir.join(format!("{}.bpf", hex::encode(digest)));
        if !path.is_file() {
            self.compile(&json, architecture, &path).await?;
        }
        known.insert(key, path.clone());
        Ok(Some(path))
    }

    async fn compile(&self, json: &str, architecture: &str, path: &Path) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let part = path.with_extension("part");
        let failed = |what: String| Error::internal(format!("compile seccomp profile: {what}"));
        let mut child = Command::new(&self.runtime)
            .args(["seccomp", "--arch", architecture, "--out"])
            .arg(&part)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|err| failed(format!("{}: {err}", self.runtime.display())))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A runtime that ends early says why itself.
            let _ = stdin.write_all(json.as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(fs::rename(&part, path)?)
    }
}

/// A privileged container has none unless it says so.
fn choose(said: Option<&str>, privileged: bool) -> Profile<'_> {
    match said {
        Some("unconfined") => Profile::Unconfined,
        Some("builtin" | "default") => Profile::Default,
        Some(profile) if !profile.is_empty() => Profile::Custom(profile),
        Some(_) | None if privileged => Profile::Unconfined,
        Some(_) | None => Profile::Default,
    }
}
