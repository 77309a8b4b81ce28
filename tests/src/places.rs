//! Where programs and cached things lie.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Programs that tests use and that may come from the cache folder instead of
/// an installed package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The docker client: `HAKO_TEST_DOCKER`, the installed one, or Debian's.
    Docker,
    /// Debian's docker client, whatever is installed: API 1.41.
    DebianDocker,
    /// `docker-registry`.
    Registry,
    /// podman, with which images are exchanged.
    Podman,
    /// buildah, likewise.
    Buildah,
    /// skopeo, likewise.
    Skopeo,
    /// Python with the packages of `tests/python/requirements.txt`.
    Python,
}

/// The folder of the programs under test: `HAKO_BIN_DIR`, or two above the test
/// program, where cargo puts them.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = env::var_os("HAKO_BIN_DIR") {
        return dir.into();
    }
    let exe = env::current_exe().expect("a test program has a path");
    exe.ancestors().nth(2).expect("a test program lies in target/…/deps").to_path_buf()
}

/// The program of `tool`. Panics with how to get it if it is nowhere.
#[must_use]
pub fn tool(tool: Tool) -> PathBuf {
    let found = match tool {
        Tool::Docker => env::var_os("HAKO_TEST_DOCKER")
            .map(PathBuf::from)
            .or_else(|| on_path("docker"))
            .or_else(|| unpacked("docker.io_", "usr/bin/docker")),
        Tool::DebianDocker => unpacked("docker.io_", "usr/bin/docker"),
        Tool::Registry => {
            on_path("docker-registry").or_else(|| unpacked("docker-registry_", "usr/bin/docker-registry"))
        }
        Tool::Podman => on_path("podman").or_else(|| unpacked("podman_", "usr/bin/podman")),
        Tool::Buildah => on_path("buildah").or_else(|| unpacked("buildah_", "usr/bin/buildah")),
        Tool::Skopeo => on_path("skopeo"),
        Tool::Python => unpacked("python-", "bin/python"),
    };
    found.unwrap_or_else(|| panic!("{tool:?} is nowhere: `cargo xtask setup` fetches it"))
}

/// `$XDG_CACHE_HOME/hako`, by default `~/.cache/hako`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        _ => PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache"),
    };
    base.join("hako")
}

/// A program on the path.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn unpacked(prefix: &str, program: &str) -> Option<PathBuf> {
    std::fs::read_dir(cache_dir().join("tools"))
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(program))
        .find(|path| path.exists())
}
