//! Answers about containers.

use super::{ContainerConfig, HostConfig, MountPoint, NetworkSettings, Port};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /containers/create`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateAnswer {
    /// The new container.
    pub id: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// `POST /containers/{id}/wait`. Before version 1.42 an absent error is null.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitAnswer {
    /// Why waiting failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
    /// The exit code.
    pub status_code: i64,
}

/// The error of a wait.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitError {
    /// The text.
    pub message: String,
}

/// The `State` of an inspect.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)] // The names are Docker's.
pub struct ContainerState {
    pub status: String,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    pub pid: i64,
    pub exit_code: i64,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// The `Health` of a state, where there is a health check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failed probes in a row.
    pub failing_streak: i64,
    /// The latest probes.
    pub log: Vec<HealthcheckResult>,
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthcheckResult {
    /// When it began.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// 0 is healthy; -1 where it ran out of time or could not run.
    pub exit_code: i64,
    /// What it wrote, up to 4096 bytes.
    pub output: String,
}

/// `GET /containers/{id}/json`, in Docker's order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct ContainerInspect {
    pub id: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub state: ContainerState,
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    pub name: String,
    pub restart_count: i64,
    pub driver: String,
    pub platform: String,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    pub host_config: HostConfig,
    pub graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    pub mounts: Vec<MountPoint>,
    pub config: ContainerConfig,
    pub network_settings: NetworkSettings,
    /// Hako's own, behind the hyperv wall.
    #[serde(rename = "VM", skip_serializing_if = "Option::is_none")]
    pub vm: Option<VirtualMachine>,
}

/// The virtual machine that a container runs in, or will run in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VirtualMachine {
    /// Bytes of its memory, its own need included.
    pub memory: u64,
    /// Its processors, with which it boots.
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    /// Bytes of the container's writable disk.
    pub disk: u64,
    /// The guest kernel, by its name.
    pub kernel: String,
    /// What was added to its command line.
    pub kernel_args: Vec<String>,
    /// `kvm` or `tcg`; `auto` where nobody has looked yet.
    pub accelerator: String,
}

/// `GET /containers/{id}/top`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TopAnswer {
    /// The columns' titles.
    pub titles: Vec<String>,
    /// A row for each process.
    pub processes: Vec<Vec<String>>,
}

/// `POST /containers/prune`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PruneAnswer {
    /// The containers that are gone; null if none is.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// Where the root filesystem comes from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    /// The driver's data.
    pub data: Option<BTreeMap<String, String>>,
    /// `overlay2`, or `erofs` behind the hyperv wall.
    pub name: String,
}

/// An element of `GET /containers/json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct ContainerSummary {
    pub id: String,
    pub names: Vec<String>,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    pub command: String,
    pub created: i64,
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub state: String,
    pub status: String,
    pub host_config: SummaryHostConfig,
    pub network_settings: SummaryNetworks,
    pub mounts: Vec<MountPoint>,
    /// Since version 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
}

/// What a list shows of a health check.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthSummary {
    /// `none`, `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failed probes in a row.
    pub failing_streak: i64,
}

/// What a list shows of `HostConfig`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// As created.
    pub network_mode: String,
    /// The wall: Hako's own addition.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub isolation: String,
}

/// What a list shows of networks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryNetworks {
    /// By name.
    pub networks: BTreeMap<String, super::EndpointSettings>,
}
