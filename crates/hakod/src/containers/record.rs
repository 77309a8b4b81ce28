//! What the engine knows of a container, as it is kept in the store.

use super::{health::Health, policy::Restarts, vm::Machine};
use crate::networks::{Link, record::Asked};
use hako_api::types::{ContainerConfig, HostConfig, MountPoint};
use hako_model::{ContainerId, Isolation};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

pub use super::state::{Failure, Run, State};

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its identifier.
    pub id: ContainerId,
    /// Its name without the slash.
    pub name: String,
    /// When it was created.
    pub created: String,
    /// The image's id.
    pub image_id: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Merged with the image's.
    pub config: ContainerConfig,
    /// As asked for, with the defaults filled in.
    pub host: HostConfig,
    /// The wall.
    pub isolation: Isolation,
    /// The guest kernel that its virtual machine boots, by name; none behind a
    /// wall that has no machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What is said of its virtual machine.
    #[serde(default, skip_serializing_if = "Machine::is_empty")]
    pub vm: Machine,
    /// Volumes, host folders and the like.
    pub mounts: Vec<Mounted>,
    /// What it asks for of networks, by their names.
    #[serde(default)]
    pub networks: BTreeMap<String, Asked>,
    /// Whom it knows on the default bridge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Where it stands.
    pub state: State,
    /// What its restart policy has done.
    #[serde(default)]
    pub restarts: Restarts,
    /// What its health check has found, once it has run with one. Written with
    /// the next change of state, as in Docker, and not for each probe.
    #[serde(default)]
    pub health: Option<Health>,
    /// Limits of `host` that the running container does not have yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limits_due: bool,
    /// Its anonymous volumes go with it: said by whoever removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_volumes: bool,
    /// It is a step of a build, which reads what it has written when it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_step: bool,
    /// What `RUN --mount` of a build mounts besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step: Vec<StepMount>,
}

/// One mount of a container: what inspect shows of it, and what it does not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mounted {
    /// What inspect shows.
    #[serde(flatten)]
    pub point: MountPoint,
    /// Nobody has named the volume: `rm -v` removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// What of the volume is mounted, if not all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// A missing source is made at the start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub make_source: bool,
    /// What is mounted in the source stays out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Read-only is the mount alone, and not what is mounted in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable_below: bool,
}

impl Mounted {
    /// The volume's name, if it is one.
    #[must_use]
    pub fn volume(&self) -> Option<&str> {
        (self.point.r#type == "volume").then_some(self.point.name.as_str())
    }

    /// Whether it is of something of the host's: a volume, a folder or a file.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        matches!(self.point.r#type.as_str(), "volume" | "bind")
    }
}

/// One mount of a build's step. The paths are the engine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMount {
    /// Where, in the container.
    pub destination: String,
    /// Whether it may only be read.
    pub read_only: bool,
    /// What.
    pub source: StepSource,
}

/// What a build's step mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StepSource {
    /// A file, put into the bundle: a secret. Its content is in no record.
    File {
        /// Where it lies until the start.
        path: PathBuf,
    },
    /// A folder or file of the host (process wall).
    Host {
        /// Its path, which has no links.
        path: PathBuf,
    },
    /// An overlay whose upper half is thrown away (process wall).
    Overlay {
        /// Top first.
        lowers: Vec<PathBuf>,
        /// For `upper` and `work`.
        scratch: PathBuf,
        /// What of it is mounted, relative and without links.
        inside: String,
    },
    /// A disk, of which the guest mounts a folder (hyperv wall).
    Disk {
        /// The raw image.
        path: PathBuf,
        /// `ext4`, or `erofs`, over which the guest puts a tmpfs where it may be written to.
        filesystem: String,
        /// What of it is mounted, relative and without links.
        inside: String,
    },
}
