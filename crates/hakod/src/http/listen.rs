//! Where hakod listens: `unix://` and `tcp://` hosts.

use anyhow::{Context, bail};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};
use tokio::net::{TcpListener, UnixListener};

/// A value of `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://address:port`.
    Tcp(SocketAddr),
}

impl Host {
    /// As rules of the policy name it: the path, or the address that is listened on.
    #[must_use]
    pub fn socket(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(address) => address.to_string(),
        }
    }
}

impl FromStr for Host {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            if path.is_empty() {
                bail!("host {text:?} names no socket");
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let address = address.trim_end_matches('/');
            let address = match address.strip_prefix("localhost:") {
                Some(port) => format!("127.0.0.1:{port}"),
                None if address.starts_with(':') => format!("0.0.0.0{address}"),
                None => address.to_owned(),
            };
            let address =
                address.parse().with_context(|| format!("host {text:?}: an address and a port are needed"))?;
            return Ok(Self::Tcp(address));
        }
        bail!("host {text:?} is neither unix:// nor tcp://")
    }
}

/// A bound host.
pub enum Listener {
    /// A unix socket, and its file, which is removed at the end.
    Unix(UnixListener, PathBuf),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// Binds `host`; a unix socket gets mode 0660 and the group `group`, if it exists.
///
/// # Errors
/// Where the address is in use or may not be bound.
pub async fn bind(host: &Host, group: &str) -> anyhow::Result<Listener> {
    match host {
        Host::Unix(path) => bind_unix(path, group).with_context(|| format!("cannot listen on {}", path.display())),
        Host::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            Ok(Listener::Tcp(listener))
        }
    }
}

/// Read by hand: the C library's own look-up loads modules, which a static
/// program cannot.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

fn bind_unix(path: &Path, group: &str) -> anyhow::Result<Listener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            bail!("somebody already serves there");
        }
        fs::remove_file(path)?;
    }
    // Bound under another name first, so that nobody can connect before the mode is right.
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(gid) = group_id(&groups, group) {
        std::os::unix::fs::chown(&fresh, None, Some(gid))?;
    }
    fs::rename(&fresh, path)?;
    Ok(Listener::Unix(listener, path.to_owned()))
}
