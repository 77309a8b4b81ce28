//! What the server's process is left with: a mount namespace in which there is
//! nothing but the shares, the capabilities that a file server needs, and a way
//! to open again what it has open.

use crate::{Error, Result, Share};
use hako_os::mount::tree::Tree;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{chdir, fchdir, pivot_root},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// A directory that every system has, and that nobody shares: its place is taken.
const PLACE: &str = "/proc";

/// What serving files as their owners takes.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// A user change of a thread leaves its capabilities alone, for good.
const SECURE_BITS: CapabilitiesSecureBits = CapabilitiesSecureBits::NO_SETUID_FIXUP
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED)
    .union(CapabilitiesSecureBits::NO_ROOT)
    .union(CapabilitiesSecureBits::NO_ROOT_LOCKED);

/// The way to reopen descriptors.
#[derive(Debug)]
pub struct Jail {
    /// `/proc/self/fd` of the host.
    descriptors: OwnedFd,
}

fn step<T, E: Into<io::Error>>(what: &'static str, result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|err| Error::Step { what, source: err.into() })
}

impl Jail {
    /// Without any walls: for what runs in a process of its own already.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = step("open /proc/self/fd", openat(CWD, "/proc/self/fd", flags, Mode::empty()))?;
        Ok(Self { descriptors })
    }

    /// Leaves the host's files behind, for good; only the shares stay, and are
    /// answered in their order, open with `O_PATH`. Call it before there is a second thread.
    ///
    /// # Errors
    /// The kernel's, with the share that cannot be had.
    pub fn enter(shares: &[Share]) -> Result<(Self, Vec<OwnedFd>)> {
        let jail = Self::open()?;
        let trees: Vec<Tree> = shares
            .iter()
            .map(|share| {
                let failed = |source| Error::Share { path: share.path.clone(), source };
                Tree::copy(&share.path, &share.beneath, share.recursive, share.read_only).map_err(failed)
            })
            .collect::<Result<_>>()?;
        step("unshare", unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC))?;
        let none = None::<&str>;
        step("cut off mounts", mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        step("mount a root", mount(Some("tmpfs"), PLACE, Some("tmpfs"), flags, Some("mode=0700,size=64k")))?;
        for (n, (tree, share)) in trees.iter().zip(shares).enumerate() {
            let failed = |source| Error::Share { path: share.path.clone(), source };
            let place = Path::new(PLACE).join(n.to_string());
            let made =
                if tree.is_dir().map_err(failed)? { fs::create_dir(&place) } else { File::create(&place).map(drop) };
            made.and_then(|()| tree.mount(&place)).map_err(failed)?;
        }
        drop(trees);
        step("enter the root", chdir(PLACE))?;
        step("change the root", pivot_root(".", "."))?;
        step("leave the old root", umount2(".", MntFlags::MNT_DETACH))?;
        step("enter the root", chdir("/"))?;
        let sealed = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags;
        step("seal the root", mount(none, "/", none, sealed, none))?;
        let open = |n: usize| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = openat(CWD, PathBuf::from(format!("/{n}")), flags, Mode::empty());
            opened.map_err(|err| Error::Share { path: shares[n].path.clone(), source: err.into() })
        };
        let roots = (0..shares.len()).map(open).collect::<Result<_>>()?;
        drop_privileges()?;
        Ok((jail, roots))
    }

    /// What `fd` is open for with `O_PATH`, opened. No path is followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(&self.descriptors, crate::nodes::number(fd), flags, Mode::empty())
    }

    /// `/proc/self/fd`.
    #[must_use]
    pub fn descriptors(&self) -> BorrowedFd<'_> {
        self.descriptors.as_fd()
    }

    /// Makes the calling thread's umask and working directory its own; the
    /// directory is `/proc/self/fd`, for calls that only take paths.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter_thread(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_FS)?;
        fchdir(&self.descriptors)?;
        Ok(())
    }
}

fn drop_privileges() -> Result<()> {
    let (soft, hard) = step("read limits", getrlimit(Resource::RLIMIT_NOFILE))?;
    if soft < hard {
        step("raise the limit of open files", setrlimit(Resource::RLIMIT_NOFILE, hard, hard))?;
    }
    step("forbid core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    step("forbid being traced", nix::sys::prctl::set_dumpable(false))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    step("leave groups", nix::unistd::setgroups(&[]))?;
    for capability in CapabilitySet::all().iter() {
        let name = !CAPABILITIES.contains(capability);
        // One that this kernel does not have cannot be left.
        if name && rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
            step("drop capabilities", rustix::thread::remove_capability_from_bounding_set(capability))?;
        }
    }
    step("set secure bits", rustix::thread::set_capabilities_secure_bits(SECURE_BITS))?;
    let had = step("read capabilities", rustix::thread::capabilities(None))?;
    let kept = CAPABILITIES.intersection(had.permitted);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    step("drop capabilities", rustix::thread::set_capabilities(None, sets))?;
    step("forbid more privileges", rustix::thread::set_no_new_privs(true))
}
