//! A shim's folder, `<exec-root>/shims/<id>`.

use hako_model::{Error, Result, SandboxConfig, ShimState};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::DirBuilderExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

/// The folder. Its sockets are reached through a file descriptor of it, because
/// a socket's path may have no more than 107 bytes.
#[derive(Debug, Clone)]
pub struct ShimDir(PathBuf);

impl ShimDir {
    /// The folder at `path`, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes it, empty, with its bundle.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(&self) -> Result<()> {
        self.remove()?;
        let name = |err: io::Error| Error::internal(format!("{}: {err}", self.0.display()));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0).map_err(name)?;
        builder.create(self.bundle()).map_err(name)?;
        builder.mode(0o755).create(self.bundle().join("rootfs")).map_err(name)
    }

    /// Removes it, if it is there. Mounts in it belong to the shim's mount
    /// namespace and have gone with it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(Error::internal(format!("remove {}: {err}", self.0.display())))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// The OCI bundle.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    /// Writes `sandbox.json`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_config(&self, config: &SandboxConfig) -> Result<()> {
        let text = serde_json::to_vec(config).map_err(|err| Error::internal(err.to_string()))?;
        Ok(fs::write(self.0.join("sandbox.json"), text)?)
    }

    /// `sandbox.json`, if there is a whole one.
    #[must_use]
    pub fn config(&self) -> Option<SandboxConfig> {
        serde_json::from_slice(&fs::read(self.0.join("sandbox.json")).ok()?).ok()
    }

    /// `state.json`, if there is a whole one.
    #[must_use]
    pub fn state(&self) -> Option<ShimState> {
        serde_json::from_slice(&fs::read(self.0.join("state.json")).ok()?).ok()
    }

    /// The container's cgroup (OCI's `cgroupsPath`), if the bundle is there.
    #[must_use]
    pub fn cgroup(&self) -> Option<String> {
        let text = fs::read(self.bundle().join("config.json")).ok()?;
        let spec: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(spec.pointer("/linux/cgroupsPath")?.as_str()?.to_owned())
    }

    /// The last lines of `shim.log`, for a shim that has died.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read(self.0.join("shim.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    /// Binds a socket in it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(&self, name: &str) -> Result<UnixListener> {
        let dir = self.open()?;
        let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        UnixListener::bind(path).map_err(|err| Error::internal(format!("bind {}: {err}", self.0.join(name).display())))
    }

    /// Connects to a socket in it.
    ///
    /// # Errors
    /// `Unavailable` where nobody listens.
    pub fn connect(&self, name: &str) -> Result<tokio::net::UnixStream> {
        let gone = |err: io::Error| {
            Error::new(hako_model::ErrorKind::Unavailable, format!("shim at {}: {err}", self.0.join(name).display()))
        };
        let dir = self.open()?;
        // A unix socket connects at once or not at all.
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).map_err(gone)?;
        stream.set_nonblocking(true).map_err(gone)?;
        tokio::net::UnixStream::from_std(stream).map_err(gone)
    }

    fn open(&self) -> Result<File> {
        File::open(&self.0).map_err(|err| Error::internal(format!("{}: {err}", self.0.display())))
    }
}
