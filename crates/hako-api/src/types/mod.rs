//! The shapes of requests and answers. `Option` stands where Docker writes
//! `null`; what Docker leaves out when empty is skipped here as well.

pub mod config;
pub mod container;
pub mod device;
pub mod event;
pub mod exec;
pub mod host_config;
pub mod network;
pub mod stats;
pub mod system;
pub mod volume;

pub use config::{ContainerConfig, CreateBody, HealthConfig};
pub use container::{ContainerInspect, ContainerState, ContainerSummary, CreateAnswer, TopAnswer, WaitAnswer};
pub use device::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};
pub use event::{Actor, Event};
pub use exec::{ExecConfig, ExecInspect, ExecStartOptions, IdAnswer};
pub use host_config::{BindOptions, HostConfig, LogConfig, Mount, RestartPolicy, TmpfsOptions, Ulimit, VolumeOptions};
pub use network::{EndpointIpamConfig, EndpointSettings, MountPoint, NetworkSettings, Port, PortBinding};
pub use stats::Stats;
pub use system::{Info, Version};
pub use volume::{Volume, VolumeCreate, VolumeList, VolumeUsage, VolumesPruned};

/// `true` for `false`, for `skip_serializing_if`.
#[must_use]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
