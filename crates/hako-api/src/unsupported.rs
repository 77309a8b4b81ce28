//! The one table of what is refused: the endpoint or the field of a create, the
//! wall that it concerns, and the answer. hakod takes its refusals from it and
//! `docs/unsupported.md` is made from it, so the two cannot differ; a black-box
//! test sends every example to an engine and reads the page for the answer.
//! (Whole endpoints are rows of [`crate::ENDPOINTS`], which the page shows as well.)

mod page;

pub use page::page;

use crate::types::{ContainerConfig, HostConfig, network::NetworkCreate};
use hako_model::{Error, ErrorKind, Isolation};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Whom a row concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Both walls.
    Both,
    /// One of them.
    Only(Isolation),
    /// The process wall, where the host's kernel has no AppArmor.
    ProcessWithoutAppArmor,
    /// The process wall, where the host's kernel has SELinux.
    ProcessWithSelinux,
    /// The process wall, where the container named `other` is behind the hyperv wall.
    ProcessJoiningHyperv,
}

/// What the table must know of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Its kernel confines by AppArmor.
    pub apparmor: bool,
    /// Its kernel confines by SELinux.
    pub selinux: bool,
}

/// How a row answers to a `T`.
enum Answer<T> {
    /// 501, with this reason.
    No(&'static str),
    /// In moby's words and with its status.
    Docker(ErrorKind, fn(&T) -> String),
}

/// One row, of a table for a `T` of the create request.
struct Refusal<T: 'static> {
    field: &'static str,
    /// Members of a `T` that asks for it, as JSON.
    example: &'static str,
    behind: Behind,
    asks: fn(&T) -> bool,
    answer: Answer<T>,
}

use Answer::{Docker, No};
use Behind::Both;
use ErrorKind::InvalidParameter as Invalid;

const PROCESS: Behind = Behind::Only(Isolation::Process);
const HYPERV: Behind = Behind::Only(Isolation::Hyperv);

const fn row<T>(
    field: &'static str,
    example: &'static str,
    behind: Behind,
    asks: fn(&T) -> bool,
    answer: Answer<T>,
) -> Refusal<T> {
    Refusal { field, example, behind, asks, answer }
}

fn any<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn joins(mode: &str) -> bool {
    mode.starts_with("container:")
}

/// The values of `--security-opt key=…` (or the older `key:…`).
fn security<'a>(host: &'a HostConfig, key: &'a str) -> impl Iterator<Item = &'a str> {
    let value = move |opt: &'a String| {
        let (found, value) = opt.split_once('=').or_else(|| opt.split_once(':'))?;
        (found == key).then_some(value)
    };
    host.security_opt.iter().flatten().filter_map(value)
}

fn confines(host: &HostConfig) -> bool {
    security(host, "apparmor").any(|profile| !matches!(profile, "" | "unconfined"))
}

fn mounts(host: &HostConfig, kinds: &[&str]) -> bool {
    host.mounts.iter().flatten().any(|mount| kinds.contains(&mount.r#type.as_str()))
}

/// Whether mounts that are made later are to be seen on the other side.
fn propagates(word: &str) -> bool {
    matches!(word, "shared" | "rshared" | "slave" | "rslave")
}

fn bind_propagates(bind: &str) -> bool {
    bind.split(':').nth(2).is_some_and(|options| options.split(',').any(propagates))
}

fn mount_writable_below(host: &HostConfig) -> bool {
    let binds = host.mounts.iter().flatten().filter(|mount| mount.r#type == "bind");
    let mut options = binds.filter_map(|mount| mount.bind_options.as_ref());
    options.any(|options| options.read_only_non_recursive)
}

fn mount_propagates(host: &HostConfig) -> bool {
    let binds = host.mounts.iter().flatten().filter(|mount| mount.r#type == "bind");
    let mut options = binds.filter_map(|mount| mount.bind_options.as_ref());
    options.any(|options| propagates(&options.propagation))
}

const NO_PROPAGATION: &str = "a mount that is made later on the host or in the container is not seen on the other side";
const OTHER_WALL: &str = "that container is behind the hyperv wall, on a kernel of its own";
const OTHER_KERNEL: &str = "the host's kernel is not the guest's";

/// What is refused in `HostConfig`, in the order in which it is looked for.
#[rustfmt::skip] // One row, one or two lines: it is read as a table.
const HOST_CONFIG: &[Refusal<HostConfig>] = &[
    row("NetworkMode", r#"{"NetworkMode": "host"}"#, HYPERV,
        |host| host.network_mode == "host", No("the host's interfaces are of a kernel that is not the guest's")),
    row("NetworkMode", r#"{"NetworkMode": "container:other"}"#, HYPERV, |host| joins(&host.network_mode),
        No("another container is in another virtual machine, or on the host's kernel")),
    row("NetworkMode", r#"{"NetworkMode": "container:other"}"#, Behind::ProcessJoiningHyperv,
        |host| joins(&host.network_mode), No(OTHER_WALL)),
    row("PortBindings", r#"{"PortBindings": {"2905/sctp": [{}]}}"#, HYPERV,
        |host| host.port_bindings.iter().flatten().any(|(port, _)| port.ends_with("/sctp")), No("the guest's kernel has no SCTP")),
    row("Mounts", r#"{"Mounts": [{"Type": "image", "Source": "busybox", "Target": "/data"}]}"#, Both,
        |host| mounts(host, &["image", "cluster"]), No("the types image and cluster")),
    row("Binds", r#"{"Binds": ["/tmp:/mnt:rslave"]}"#, HYPERV,
        |host| host.binds.iter().flatten().any(|bind| bind_propagates(bind)), No(NO_PROPAGATION)),
    row("Mounts", r#"{"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/mnt", "BindOptions": {"Propagation": "rshared"}}]}"#,
        HYPERV, mount_propagates, No(NO_PROPAGATION)),
    row("Mounts", r#"{"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/mnt", "BindOptions": {"ReadOnlyNonRecursive": true}}]}"#,
        HYPERV, mount_writable_below,
        No("a read-only folder with writable mounts in it (bind-recursive=writable)")),
    row("LogConfig", r#"{"LogConfig": {"Type": "syslog"}}"#, Both,
        |host| !matches!(host.log_config.r#type.as_str(), "" | "json-file" | "local" | "none"),
        Docker(Invalid, |host| format!("logger: no log driver named '{}' is registered", host.log_config.r#type))),
    row("Cgroup", r#"{"Cgroup": "container:other"}"#, Both,
        |host| !host.cgroup.is_empty(), No("a cgroup of another container")),
    row("StorageOpt", r#"{"StorageOpt": {"size": "1g"}}"#, PROCESS, |host| !host.storage_opt.is_empty(),
        Docker(Invalid, |_| "--storage-opt is supported only for overlay over xfs with 'pquota' mount option".to_owned())),
    row("StorageOpt", r#"{"StorageOpt": {"inodes": "7"}}"#, HYPERV,
        |host| host.storage_opt.keys().any(|key| !key.eq_ignore_ascii_case("size")),
        Docker(Invalid, |host| format!("Unknown option {}", unknown_storage_option(host)))),
    row("CpuRealtimePeriod", r#"{"CpuRealtimePeriod": 1000000}"#, Both,
        |host| host.cpu_realtime_period != 0, No("the engine has no share of real-time scheduling to give away")),
    row("CpuRealtimeRuntime", r#"{"CpuRealtimeRuntime": 950000}"#, Both,
        |host| host.cpu_realtime_runtime != 0, No("the engine has no share of real-time scheduling to give away")),
    row("IOMaximumBandwidth", r#"{"IOMaximumBandwidth": 1000000}"#, Both, |host| host.io_maximum_bandwidth != 0,
        Docker(Invalid, |_| "invalid option: QoS maximum bandwidth configuration is not supported on linux".to_owned())),
    row("IOMaximumIOps", r#"{"IOMaximumIOps": 100}"#, Both, |host| host.io_maximum_iops != 0,
        Docker(Invalid, |_| "invalid option: QoS maximum IOPs configuration is not supported on linux".to_owned())),
    row("Runtime", r#"{"Runtime": "crun"}"#, Both,
        |host| !matches!(host.runtime.as_str(), "" | "hako-runtime" | "runc" | "io.containerd.runc.v2"),
        Docker(Invalid, |host| format!("unknown or invalid runtime name: {}", host.runtime))),
    row("DeviceRequests", r#"{"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}"#, Both,
        |host| any(&host.device_requests), Docker(Invalid, no_device_driver)),
    row("DeviceRequests", r#"{"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/class=name"]}]}"#, Both,
        |host| any(&host.device_requests), Docker(Invalid, no_device_driver)),
    row("Devices", r#"{"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]}"#,
        HYPERV, |host| any(&host.devices), No("a device of the host: the guest's kernel has no driver's way to it")),
    row("DeviceCgroupRules", r#"{"DeviceCgroupRules": ["c 10:200 rwm"]}"#, HYPERV,
        |host| any(&host.device_cgroup_rules), No("numbers of the host's devices mean others in the guest")),
    row("PidMode", r#"{"PidMode": "host"}"#, HYPERV, |host| host.pid_mode == "host", No(OTHER_KERNEL)),
    row("PidMode", r#"{"PidMode": "container:other"}"#, HYPERV, |host| joins(&host.pid_mode),
        No("another container is in another virtual machine, or on the host's kernel")),
    row("PidMode", r#"{"PidMode": "container:other"}"#, Behind::ProcessJoiningHyperv,
        |host| joins(&host.pid_mode), No(OTHER_WALL)),
    row("IpcMode", r#"{"IpcMode": "container:other"}"#, Behind::ProcessJoiningHyperv,
        |host| joins(&host.ipc_mode), No(OTHER_WALL)),
    row("IpcMode", r#"{"IpcMode": "host"}"#, HYPERV, |host| host.ipc_mode == "host", No(OTHER_KERNEL)),
    row("IpcMode", r#"{"IpcMode": "container:other"}"#, HYPERV, |host| joins(&host.ipc_mode),
        No("another container is in another virtual machine, or on the host's kernel")),
    row("UTSMode", r#"{"UTSMode": "host"}"#, HYPERV, |host| host.uts_mode == "host", No(OTHER_KERNEL)),
    row("CgroupnsMode", r#"{"CgroupnsMode": "host"}"#, HYPERV, |host| host.cgroupns_mode == "host", No(OTHER_KERNEL)),
    row("SecurityOpt", r#"{"SecurityOpt": ["apparmor=profile"]}"#, HYPERV,
        confines, No("the guest's kernel has no AppArmor")),
    row("SecurityOpt", r#"{"SecurityOpt": ["apparmor=profile"]}"#, Behind::ProcessWithoutAppArmor,
        confines, No("this host's kernel has no AppArmor")),
    row("SecurityOpt", r#"{"SecurityOpt": ["label=level:s0:c100,c200"]}"#, Behind::ProcessWithSelinux,
        |host| security(host, "label").any(|label| label != "disable"), No("SELinux labels are not set")),
];

/// What is refused in the body of create beside `HostConfig`.
const CONFIG: &[Refusal<ContainerConfig>] = &[];

/// What is refused in the body of a network's create.
#[rustfmt::skip] // As above.
const NETWORK: &[Refusal<NetworkCreate>] = &[
    row("Driver", r#"{"Driver": "macvlan"}"#, Both, |network| network.driver == "macvlan", No(ONLY_BRIDGES)),
    row("Driver", r#"{"Driver": "ipvlan"}"#, Both, |network| network.driver == "ipvlan", No(ONLY_BRIDGES)),
    row("Driver", r#"{"Driver": "overlay"}"#, Both, |network| network.driver == "overlay", No(ONLY_BRIDGES)),
    row("Ingress", r#"{"Ingress": true}"#, Both, |network| network.ingress, No("this engine joins no cluster")),
    row("ConfigOnly", r#"{"ConfigOnly": true}"#, Both,
        |network| network.config_only, No("a network that only others are made of")),
    row("ConfigFrom", r#"{"ConfigFrom": {"Network": "other"}}"#, Both,
        |network| network.config_from.as_ref().is_some_and(|from| !from.network.is_empty()),
        No("a network that only others are made of")),
    row("Options", r#"{"Options": {"com.docker.network.bridge.inhibit_ipv4": "true"}}"#, Both,
        |network| option(network, "inhibit_ipv4").is_some_and(|value| value != "false"), No("a bridge without an address")),
    row("Options", r#"{"Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}}"#, Both,
        |network| option(network, "gateway_mode_ipv4").is_some_and(|mode| mode != "nat"), No("the only mode is nat")),
    row("Options", r#"{"Options": {"com.docker.network.bridge.gateway_mode_ipv6": "routed"}}"#, Both,
        |network| option(network, "gateway_mode_ipv6").is_some_and(|mode| mode != "nat"), No("the only mode is nat")),
];

const ONLY_BRIDGES: &str = "the only driver is bridge";

fn option<'a>(network: &'a NetworkCreate, name: &str) -> Option<&'a str> {
    let value = network.options.get(&format!("com.docker.network.bridge.{name}"));
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// What is refused of an endpoint that otherwise works: a request, and what it asks for.
pub struct Request {
    method: &'static str,
    target: &'static str,
    what: &'static str,
}

/// `docker import URL`.
pub const IMPORT_URL: Request = Request {
    method: "POST",
    target: "/images/create?fromSrc=http://host/tree.tar",
    what: "image import from a URL: this engine fetches from registries alone; download it and import the file",
};
/// A build by BuildKit, or one whose files come over its session.
pub const BUILDKIT: Request =
    Request { method: "POST", target: "/build?version=2", what: "image build sessions (BuildKit)" };
/// `docker build https://…`, which a client cannot do for itself.
pub const BUILD_REMOTE: Request = Request {
    method: "POST",
    target: "/build?remote=https://example.org/x.git",
    what: "a build context that the engine fetches",
};
/// `docker build --output`.
pub const BUILD_OUTPUTS: Request =
    Request { method: "POST", target: "/build?outputs=[1]", what: "outputs of a build (BuildKit)" };
/// What is refused of requests that otherwise work.
const REQUESTS: &[&Request] = &[&IMPORT_URL, &BUILDKIT, &BUILD_REMOTE, &BUILD_OUTPUTS];

/// What a Dockerfile may not ask for: the instruction, and the answer.
pub struct Step {
    instruction: &'static str,
    what: &'static str,
}

/// `ADD https://…`.
pub const BUILD_ADD_URL: Step = Step {
    instruction: "ADD https://example.org/x /",
    what: "ADD of a URL or a repository: the engine fetches nothing but images",
};
/// `RUN --security=insecure`.
pub const BUILD_INSECURE: Step = Step { instruction: "RUN --security=insecure true", what: "RUN --security=insecure" };
/// `RUN --mount=type=ssh`.
pub const BUILD_SSH: Step =
    Step { instruction: "RUN --mount=type=ssh,target=/x true", what: "RUN --mount=type=ssh (BuildKit)" };
/// `RUN --mount=type=cache,from=…`.
pub const BUILD_CACHE_FROM: Step = Step {
    instruction: "RUN --mount=type=cache,target=/x,from=busybox true",
    what: "RUN --mount=type=cache with files to begin with",
};
const STEPS: &[&Step] = &[&BUILD_ADD_URL, &BUILD_INSECURE, &BUILD_SSH, &BUILD_CACHE_FROM];

impl Step {
    /// The answer.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::unsupported(self.what)
    }
}

impl Request {
    /// The answer.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::unsupported(self.what)
    }
}

fn unknown_storage_option(host: &HostConfig) -> &str {
    host.storage_opt.keys().find(|key| !key.eq_ignore_ascii_case("size")).map_or("", String::as_str)
}

/// moby's words, with lists as Go prints them.
fn no_device_driver(host: &HostConfig) -> String {
    let request = host.device_requests.iter().flatten().next().cloned().unwrap_or_default();
    let sets = request.capabilities.unwrap_or_default();
    let sets: Vec<String> = sets.iter().map(|set| format!("[{}]", set.join(" "))).collect();
    format!("could not select device driver {:?} with capabilities: [{}]", request.driver, sets.join(" "))
}

impl Behind {
    /// Whether a container behind `wall` on such a host is concerned.
    #[must_use]
    pub fn concerns(self, wall: Isolation, host: HostFacts) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only == wall,
            Self::ProcessWithoutAppArmor => wall == Isolation::Process && !host.apparmor,
            Self::ProcessWithSelinux => wall == Isolation::Process && host.selinux,
            // Only who knows the other container can tell: see `other_wall`.
            Self::ProcessJoiningHyperv => false,
        }
    }
}

/// What a part of the create request is called before its fields.
trait Part: DeserializeOwned + Default {
    const NAME: &'static str;
}

impl Part for HostConfig {
    const NAME: &'static str = "HostConfig.";
}

impl Part for ContainerConfig {
    const NAME: &'static str = "";
}

impl Part for NetworkCreate {
    const NAME: &'static str = "Network.";
}

impl<T: Part> Refusal<T> {
    /// The answer to `asked`, which asks for it.
    fn error(&self, asked: &T) -> Error {
        match self.answer {
            Answer::Docker(kind, text) => Error::new(kind, text(asked)),
            Answer::No(why) => {
                let wall = match self.behind {
                    Behind::Only(wall) => format!(" behind the {wall} wall"),
                    Behind::Both
                    | Behind::ProcessWithoutAppArmor
                    | Behind::ProcessWithSelinux
                    | Behind::ProcessJoiningHyperv => String::new(),
                };
                Error::unsupported(format!("{}{}{wall}: {why}", T::NAME, self.field))
            }
        }
    }
}

fn check<T: Part>(rows: &[Refusal<T>], asked: &T, wall: Isolation, facts: HostFacts) -> Result<(), Error> {
    match rows.iter().find(|row| row.behind.concerns(wall, facts) && (row.asks)(asked)) {
        Some(row) => Err(row.error(asked)),
        None => Ok(()),
    }
}

/// The first refusal of what a create asks for behind `wall`.
///
/// # Errors
/// As the table says.
pub fn check_create(
    config: &ContainerConfig,
    host: &HostConfig,
    wall: Isolation,
    facts: HostFacts,
) -> Result<(), Error> {
    check(CONFIG, config, wall, facts)?;
    check(HOST_CONFIG, host, wall, facts)
}

/// The refusal to join a container that is behind the hyperv wall, if `host` asks for it.
///
/// # Errors
/// As the table says.
pub fn join_hyperv(host: &HostConfig) -> Result<(), Error> {
    match HOST_CONFIG.iter().find(|row| row.behind == Behind::ProcessJoiningHyperv && (row.asks)(host)) {
        Some(row) => Err(row.error(host)),
        None => Ok(()),
    }
}

/// The first refusal of a network's create.
///
/// # Errors
/// As the table says.
pub fn check_network(network: &NetworkCreate) -> Result<(), Error> {
    check(NETWORK, network, Isolation::Process, HostFacts::default())
}

/// Whether a JSON value differs from Go's zero value.
#[must_use]
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples<T: Part>(rows: &[Refusal<T>]) {
        for row in rows {
            let asked: T = serde_json::from_str(row.example).unwrap();
            assert!((row.asks)(&asked), "{}", row.example);
            assert!(!(row.asks)(&T::default()), "{} is asked for by nothing", row.field);
            assert!(row.example.contains(row.field), "{}", row.example);
        }
    }

    #[test]
    fn every_example_asks_for_its_row() {
        examples(HOST_CONFIG);
        examples(CONFIG);
        examples(NETWORK);
    }

    #[test]
    fn the_wall_decides() {
        let host: HostConfig = serde_json::from_str(r#"{"PidMode": "host"}"#).unwrap();
        let none = HostFacts::default();
        assert!(check(HOST_CONFIG, &host, Isolation::Process, none).is_ok());
        let err = check(HOST_CONFIG, &host, Isolation::Hyperv, none).unwrap_err();
        assert_eq!(
            err.message,
            "not supported: HostConfig.PidMode behind the hyperv wall: the host's kernel is not the guest's"
        );
        let gpu: HostConfig = serde_json::from_str(r#"{"DeviceRequests": [{"Capabilities": [["gpu"]]}]}"#).unwrap();
        let err = check(HOST_CONFIG, &gpu, Isolation::Process, none).unwrap_err();
        assert_eq!(err.message, "could not select device driver \"\" with capabilities: [[gpu]]");
    }
}
