//! What libcontainer asks of `libcgroups`, in the place of the crate of that
//! name (`[patch.crates-io]`): `hako-runtime` makes a container's groups and
//! sets their limits itself, before libcontainer comes to it, and removes them.
//! What is left is to move a process in, the rules and limits that the runtime
//! does not take, and the freezer.
//!
//! The crate of youki reads the mount table once per controller and use (some
//! 700 system calls for each start and each exec), and moves a process in a way
//! for which the kernel waits 8 to 20 ms; see `hako_os::cgroup::Cgroup::procs`.

mod devices;
mod limits;
mod manager;

/// The name under which libcontainer looks for it.
pub mod common {
    pub use crate::manager::*;
}

/// Nothing: `hako-runtime events` reads the figures itself.
pub mod stats {
    /// No figures.
    #[derive(Debug, Clone, serde::Serialize)]
    pub struct Stats {}
}

/// Version 1.
pub mod v1 {
    /// Its mounts.
    pub mod util {
        use std::path::PathBuf;

        /// Where its hierarchies are mounted, also those that only name processes.
        ///
        /// # Errors
        /// The kernel's.
        pub fn list_subsystem_mount_points() -> std::io::Result<Vec<PathBuf>> {
            hako_os::cgroup::mount_points(false)
        }
    }
}

/// Version 2.
pub mod v2 {
    /// Its mount.
    pub mod util {
        use std::{io, path::PathBuf};

        /// Where it is mounted.
        ///
        /// # Errors
        /// `NotFound` where it is not, else the kernel's.
        pub fn get_unified_mount_point() -> io::Result<PathBuf> {
            let all = hako_os::cgroup::mount_points(true)?;
            all.into_iter().next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup2 is mounted"))
        }
    }
}
