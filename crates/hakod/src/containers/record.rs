//! What the engine knows of a container, as it is kept in the store.

use super::{health::Health, policy::Restarts};
use hako_api::types::{ContainerConfig, HostConfig, MountPoint};
use hako_model::{ContainerId, Isolation};
use serde::{Deserialize, Serialize};

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
    /// Host folders and the like.
    pub mounts: Vec<MountPoint>,
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
}
