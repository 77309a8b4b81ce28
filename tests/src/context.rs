//! The context of a build: a folder with a Dockerfile and other files.

use crate::{Case, Client};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A folder that is removed with this.
pub struct Context {
    folder: TempDir,
}

impl Context {
    /// A context with this Dockerfile.
    #[must_use]
    pub fn new(dockerfile: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }.file("Dockerfile", dockerfile)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the mode 0644, and the folders above it.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(name, content);
        self
    }

    /// The same, of another mode.
    #[must_use]
    pub fn mode(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.write(name, content);
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).expect("an own file");
        self
    }

    /// Makes a symbolic link.
    #[must_use]
    pub fn link(self, name: &str, target: &str) -> Self {
        symlink(target, self.at(name)).expect("a new name");
        self
    }

    /// Writes a file again.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a file in the folder")).expect("an own folder");
        fs::write(&path, content).expect("an own folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("an own file");
    }
}

impl Case {
    /// `docker build` by the classic builder, behind the case's wall and without a network.
    #[must_use]
    pub fn build(&self, context: &Context, flags: &[&str]) -> Client {
        self.docker(["build", &self.isolation(), "--network=none"])
            .args(flags)
            .arg(context.path())
            .env("DOCKER_BUILDKIT", "0")
            .deadline(Duration::from_secs(180))
    }

    /// What a shell says in a container of `image`, which needs no wall to be looked at.
    #[must_use]
    pub fn look(&self, image: &str, script: &str) -> String {
        let wall = if crate::Engine::is_reference() { "--isolation=default" } else { "--isolation=process" };
        let flags = ["run", "--rm", wall, "--network=none", "--user=0", "--workdir=/", "--entrypoint=/bin/sh"];
        self.docker(flags).args([image, "-c", script]).text()
    }
}
