//! Network namespaces that live at a path: a bind mount keeps one alive while
//! no process is in it.
//!
//! ```text
//! (nothing) ── file ── bind mount of a new namespace ── lo up: create returns
//!     ▲          │                 │
//!     └──────────┴──── remove ─────┘   a crash between any two is undone by remove
//! ```
//!
//! A thread that has entered a namespace never returns to the runtime: it does
//! its work there and ends. Sockets keep the namespace that they were made in,
//! so one such thread opens the netlink socket that all further requests use.

use crate::{Error, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{FsType, fstatfs},
};
use rtnetlink::Handle;
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OnceCell, oneshot};

/// The thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// The filesystem that namespaces' files are on.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// What every interface begins with. Docker's, and: a container that gets the
/// address of one that ended tells its neighbours.
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
    // An interface without an IPv6 address has no link-local one either.
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/default/arp_notify", "1"),
    ("net/ipv6/conf/default/ndisc_notify", "1"),
    // Routers are what the engine says, not who claims to be one.
    ("net/ipv6/conf/default/accept_ra", "0"),
];

/// An open network namespace, and a netlink connection into it. Cheap to
/// clone; descriptors are held while a clone lives.
#[derive(Debug, Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// Whether it is the one that this process's threads are in.
    own: bool,
    netlink: OnceCell<Handle>,
    /// Host ports that this process holds there.
    ports: Mutex<HashSet<(crate::Protocol, SocketAddr)>>,
}

impl Netns {
    /// The namespace of the calling thread, which is taken to be the whole process's.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn current() -> Result<Self> {
        Ok(Self::of(open(Path::new(OWN))?, true))
    }

    /// Makes a namespace at `path` (its folder is made if it is missing), with
    /// `lo` up. One that is left there from before a crash is replaced.
    ///
    /// # Errors
    /// The kernel's. On an error nothing is left behind.
    pub async fn create(path: &Path) -> Result<Self> {
        Self::remove(path).await?;
        let target = path.to_path_buf();
        let made = on_thread(move || make(&target)).await?;
        match made {
            Ok(fd) => Ok(Self::of(fd, false)),
            Err(err) => {
                // The first error says more than one of the undoing.
                let _ = Self::remove(path).await;
                Err(err)
            }
        }
    }

    /// The namespace at `path`; `/proc/<pid>/ns/net` will do.
    ///
    /// # Errors
    /// `Io` if there is nothing; `NotANamespace` for a path that has no
    /// namespace mounted (a crash between file and mount).
    pub async fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(open(path)?, false))
    }

    /// Removes the namespace at `path`, if there is one. Interfaces in it go
    /// when the last process in it is gone and the last [`Netns`] of it dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn remove(path: &Path) -> Result<()> {
        let step = || format!("remove {}", path.display());
        loop {
            match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // Mounted more than once, by whom ever: all of them.
                Ok(()) => {}
                // Not a mount point, or not there.
                Err(nix::Error::EINVAL | nix::Error::ENOENT) => break,
                Err(err) => return Err(Error::io(step(), err.into())),
            }
        }
        match fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(Error::io(step(), err)),
            _ => Ok(()),
        }
    }

    /// Moves the namespace at `from` to `to`, in place of one that is left there
    /// from before a crash.
    ///
    /// # Errors
    /// The kernel's. On an error there is none at `to`.
    pub async fn rename(from: &Path, to: &Path) -> Result<Self> {
        Self::remove(to).await?;
        let step = || format!("move {} to {}", from.display(), to.display());
        let bound = File::create(to).and_then(|_| {
            mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        });
        let moved = match bound {
            Ok(()) => open(to).map(|fd| Self::of(fd, false)),
            Err(err) => Err(Error::io(step(), err)),
        };
        if moved.is_err() {
            // The first error says more than one of the undoing.
            let _ = Self::remove(to).await;
        }
        Self::remove(from).await?;
        moved
    }

    /// The names in `folder`, for recovery; a folder that is missing has none.
    ///
    /// # Errors
    /// Reading the folder.
    pub fn list(folder: &Path) -> Result<Vec<String>> {
        let step = || format!("list {}", folder.display());
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(Error::io(step(), err)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|err| Error::io(step(), err))?.file_name();
            names.extend(name.into_string());
        }
        Ok(names)
    }

    /// Runs `work` in the namespace, on a thread that lives only for it:
    /// sockets that it opens and children that it starts belong there.
    ///
    /// # Errors
    /// Entering; a panic of `work`.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let this = self.clone();
        on_thread(move || {
            if !this.inner.own {
                setns(&this.inner.fd, CloneFlags::CLONE_NEWNET)
                    .map_err(|err| Error::io("enter a network namespace", err.into()))?;
            }
            Ok(work())
        })
        .await?
    }

    /// As [`Netns::run`], on the calling thread if that is in the namespace: for
    /// work that does not block.
    pub(crate) async fn run_quick<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        if self.inner.own { Ok(work()) } else { self.run(work).await }
    }

    /// Writes `/proc/sys/<name>` (slashes, as `net/ipv4/ip_forward`) in the namespace.
    ///
    /// # Errors
    /// The kernel's, with the name.
    pub async fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.set_sysctls(vec![(name.to_owned(), value.to_owned())]).await
    }

    /// As [`Netns::set_sysctl`], in order, to the first error.
    ///
    /// # Errors
    /// The kernel's, with the name.
    pub async fn set_sysctls(&self, sysctls: Vec<(String, String)>) -> Result<()> {
        if sysctls.is_empty() {
            return Ok(());
        }
        self.run_quick(move || sysctls.iter().try_for_each(|(name, value)| write_sysctl(name, value))).await?
    }

    /// What `/proc/sys/<name>` says in the namespace, without the line's end.
    ///
    /// # Errors
    /// The kernel's, with the name.
    pub async fn sysctl(&self, name: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(name);
        self.run_quick(move || {
            let text = fs::read_to_string(&path).map_err(|err| Error::io(format!("read {}", path.display()), err))?;
            Ok(text.trim_end().to_owned())
        })
        .await?
    }

    /// The namespace's file.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }

    /// Requests to the kernel about this namespace.
    pub(crate) async fn netlink(&self) -> Result<Handle> {
        let open = || async {
            let runtime = tokio::runtime::Handle::current();
            let (connection, handle, _) = self
                .run_quick(move || {
                    let _guard = runtime.enter();
                    rtnetlink::new_connection()
                })
                .await?
                .map_err(|err| Error::io("open a netlink socket", err))?;
            // Ends when the last handle is dropped, with this namespace.
            tokio::spawn(connection);
            Ok(handle)
        };
        self.inner.netlink.get_or_try_init(open).await.cloned()
    }

    /// Host ports that this process holds in this namespace.
    pub(crate) fn ports(&self) -> MutexGuard<'_, HashSet<(crate::Protocol, SocketAddr)>> {
        // A set is whole whatever its last user died of.
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(fd: OwnedFd, own: bool) -> Self {
        let inner = Inner { fd, own, netlink: OnceCell::new(), ports: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }
}

/// Writes one sysctl of the calling thread's namespace. IPv6 may be built out
/// or turned off: then what it would be set to does not matter.
pub(crate) fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    match fs::write(&path, value) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && name.starts_with("net/ipv6/") => Ok(()),
        written => written.map_err(|err| Error::io(format!("write {value} to {}", path.display()), err)),
    }
}

/// Sets `lo` of the calling thread's namespace up, and what further interfaces
/// begin with. [`Netns::create`] does it; a guest does it for its own.
///
/// # Errors
/// The kernel's.
pub fn prepare() -> Result<()> {
    DEFAULTS.iter().try_for_each(|(name, value)| write_sysctl(name, value))?;
    hako_os::netns::loopback_up().map_err(|err| Error::io("set lo up", err))
}

/// A new namespace at `path`; the calling thread is in it from then on.
fn make(path: &Path) -> Result<OwnedFd> {
    let step = || format!("make the network namespace {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|err| Error::io(step(), err))?;
    }
    File::create_new(path).map_err(|err| Error::io(step(), err))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|err| Error::io(step(), err.into()))?;
    prepare()?;
    mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|err| Error::io(step(), err.into()))?;
    open(path)
}

fn open(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).map_err(|err| Error::io(format!("open {}", path.display()), err))?;
    let kind = fstatfs(&file).map_err(|err| Error::io(format!("open {}", path.display()), err.into()))?;
    if kind.filesystem_type() == NSFS_MAGIC {
        Ok(file.into())
    } else {
        Err(Error::NotANamespace { path: PathBuf::from(path) })
    }
}

/// Runs `work` on a thread of its own, whose namespace it may change.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let step = "run a thread in a network namespace";
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("netns".to_owned())
        // Whoever asked may have gone; the work is done all the same.
        .spawn(move || drop(done.send(work())))
        .map_err(|err| Error::io(step, err))?;
    result.await.map_err(|_| Error::io(step, io::Error::other("the thread panicked")))
}
