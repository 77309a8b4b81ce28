//! `hako.v1.Extra`: what containerd's Task service lacks. JSON in ttrpc's
//! payload, so that the guest needs no second set of generated messages.
//!
//! hakod calls it on the shim, the shim calls it on the agent.

use async_trait::async_trait;
use hako_model::{Error, ExitDetails, KernelFigures, NetworkChange, ProcessList, Result, VmFigures};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::HashMap, sync::Arc};
use ttrpc::r#async::{Client, MethodHandler, Service, TtrpcContext};

/// The service's name on the wire.
pub const SERVICE: &str = "hako.v1.Extra";

/// Set before anything runs in a guest: a VM wakes with no clock and no entropy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigureRequest {
    /// The host's clock, nanoseconds since 1970, UTC.
    pub unix_time_ns: i64,
    /// At least 32 bytes of the host's random pool, base64.
    pub entropy: String,
    /// The guest's own host name (the container's is in its spec).
    pub hostname: String,
}

/// What the guest is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigureReply {
    /// `uname -r` in the guest.
    pub kernel_release: String,
    /// The agent's version.
    pub agent_version: String,
}

/// More of the machine's CPUs, for a guest that booted with fewer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct GrowRequest {
    /// How many CPUs shall run; never fewer than do.
    pub cpus: u32,
}

/// What a guest has grown to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct GrowReply {
    /// How many CPUs run.
    pub cpus: u32,
}

/// Files of the OCI bundle that the other side of the wall must have, carried
/// in `CreateTaskRequest.options` as JSON ([`BUNDLE_TYPE_URL`]).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Bundle {
    /// Regular files directly in the bundle's folder.
    pub files: Vec<BundleFile>,
}

/// The type URL of a JSON [`Bundle`] in a protobuf `Any`.
pub const BUNDLE_TYPE_URL: &str = "hako.v1/Bundle+json";

/// One file of a [`Bundle`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BundleFile {
    /// A plain file name: no slash, not `.` or `..`. The receiver checks it.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// The content, base64.
    pub content: String,
}

/// Which process a request is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessRef {
    /// The container.
    pub id: String,
    /// The exec, or empty for the container's first process.
    #[serde(default)]
    pub exec_id: String,
}

/// A root filesystem to be mounted for its files alone, without a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountRequest {
    /// The container that it is of.
    pub id: String,
    /// The folder that it is mounted in, on the shim's side.
    pub bundle: String,
    /// As `CreateTaskRequest.rootfs`.
    pub rootfs: Vec<RootMount>,
    /// Host folders in it.
    pub binds: Vec<BindMount>,
    /// Nothing may be written to it.
    pub read_only: bool,
}

/// One mount of a root filesystem.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootMount {
    /// `overlay`, `erofs`, `ext4`.
    pub kind: String,
    /// The device or source; `serial:<name>` names a disk by its serial.
    pub source: String,
    /// Where, relative to the bundle; empty for `rootfs`.
    pub target: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// A host folder or file in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BindMount {
    /// Where it is; relative to the bundle, behind the hyperv wall.
    pub source: String,
    /// In the container, where it is made if missing.
    pub destination: String,
    /// What below the source is meant, if not all of it; no link leads out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub beneath: String,
    /// Nothing may be written to it.
    pub read_only: bool,
}

/// What a container uses: `Task.Stats` and what makes percentages of it, read
/// at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FiguresReply {
    /// The type URL of containerd's metrics message.
    pub type_url: String,
    /// That message, base64.
    pub metrics: String,
    /// The kernel that the workload runs on.
    pub kernel: KernelFigures,
    /// The VM's own cost on the host; absent behind the process wall and from an agent.
    #[serde(default)]
    pub vm: Option<VmFigures>,
}

/// A change of a container's network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkRequest {
    /// The container.
    pub id: String,
    /// What changes.
    pub change: NetworkChange,
    /// To an agent: frames of the interface travel over a stream that is open
    /// already ([`crate::stdio::StreamHead::Frames`]); else by the machine's
    /// network card.
    #[serde(default)]
    pub by_stream: bool,
}

/// What Task lacks.
#[async_trait]
pub trait Extra: Send + Sync {
    /// Prepares a guest: clock, entropy, host name. A shim answers `Unsupported`.
    async fn configure(&self, req: ConfigureRequest) -> Result<ConfigureReply>;
    /// Takes more CPUs into use. A shim answers `Unsupported`.
    async fn grow(&self, req: GrowRequest) -> Result<GrowReply>;
    /// How a process ended; waits until it has. `oom_killed` is the container's.
    async fn exit_details(&self, req: ProcessRef) -> Result<ExitDetails>;
    /// Mounts a container's root filesystem for its files ([`crate::files`]);
    /// Task's Delete takes it apart.
    async fn mount(&self, req: MountRequest) -> Result<()>;
    /// What the container uses. Of the request only the container counts.
    async fn figures(&self, req: ProcessRef) -> Result<FiguresReply>;
    /// Changes the container's network. Behind the process wall `Unsupported`:
    /// there it is the host's, and the engine does it.
    async fn network(&self, req: NetworkRequest) -> Result<()>;
    /// The container's processes, also those of execs. Of the request only the container counts.
    async fn processes(&self, req: ProcessRef) -> Result<ProcessList>;
}

struct Method<F>(F);

#[async_trait]
impl<F, Fut> MethodHandler for Method<F>
where
    F: Fn(Vec<u8>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Vec<u8>>> + Send,
{
    async fn handler(&self, _ctx: TtrpcContext, req: ttrpc::Request) -> ttrpc::Result<ttrpc::Response> {
        let mut response = ttrpc::Response::new();
        match (self.0)(req.payload).await {
            Ok(payload) => {
                response.set_status(ttrpc::get_status(ttrpc::Code::OK, ""));
                response.payload = payload;
            }
            // An error of a handler itself would lose its kind on the way.
            Err(err) => match crate::error::to_ttrpc(&err) {
                ttrpc::Error::RpcStatus(status) => response.set_status(status),
                other => return Err(other),
            },
        }
        Ok(response)
    }
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|err| Error::invalid(format!("malformed message: {err}")))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|err| Error::internal(format!("encode message: {err}")))
}

/// The service table of `service`, for `Server::register_service`.
#[must_use]
pub fn create_extra(service: Arc<dyn Extra>) -> HashMap<String, Service> {
    let mut methods: HashMap<String, Box<dyn MethodHandler + Send + Sync>> = HashMap::new();
    let s = service.clone();
    methods.insert(
        "Configure".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.configure(decode(&p)?).await?) }
        })),
    );
    let s = service.clone();
    methods.insert(
        "Grow".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.grow(decode(&p)?).await?) }
        })),
    );
    let s = service.clone();
    methods.insert(
        "ExitDetails".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.exit_details(decode(&p)?).await?) }
        })),
    );
    let s = service.clone();
    methods.insert(
        "Mount".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.mount(decode(&p)?).await?) }
        })),
    );
    let s = service.clone();
    methods.insert(
        "Figures".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.figures(decode(&p)?).await?) }
        })),
    );
    let s = service.clone();
    methods.insert(
        "Network".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.network(decode(&p)?).await?) }
        })),
    );
    let s = service;
    methods.insert(
        "Processes".to_owned(),
        Box::new(Method(move |p: Vec<u8>| {
            let s = s.clone();
            async move { encode(&s.processes(decode(&p)?).await?) }
        })),
    );
    HashMap::from([(SERVICE.to_owned(), Service { methods, streams: HashMap::new() })])
}

/// The client's side.
#[derive(Clone)]
pub struct ExtraClient(Client);

impl ExtraClient {
    /// A client over an existing connection; Task's client may share it.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    async fn call<Q: Serialize, R: DeserializeOwned>(&self, method: &str, req: &Q) -> Result<R> {
        let mut request = ttrpc::Request::new();
        SERVICE.clone_into(&mut request.service);
        method.clone_into(&mut request.method);
        request.payload = encode(req)?;
        let response = self.0.request(request).await.map_err(crate::error::from_ttrpc)?;
        decode(&response.payload)
    }
    /// See [`Extra::configure`].
    ///
    /// # Errors
    /// The other side's, or `Unavailable` where the connection broke.
    pub async fn configure(&self, req: &ConfigureRequest) -> Result<ConfigureReply> {
        self.call("Configure", req).await
    }
    /// See [`Extra::grow`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn grow(&self, req: &GrowRequest) -> Result<GrowReply> {
        self.call("Grow", req).await
    }
    /// See [`Extra::exit_details`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn exit_details(&self, req: &ProcessRef) -> Result<ExitDetails> {
        self.call("ExitDetails", req).await
    }
    /// See [`Extra::mount`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn mount(&self, req: &MountRequest) -> Result<()> {
        self.call("Mount", req).await
    }
    /// See [`Extra::figures`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn figures(&self, req: &ProcessRef) -> Result<FiguresReply> {
        self.call("Figures", req).await
    }
    /// See [`Extra::network`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn network(&self, req: &NetworkRequest) -> Result<()> {
        self.call("Network", req).await
    }
    /// See [`Extra::processes`].
    ///
    /// # Errors
    /// As `configure`.
    pub async fn processes(&self, req: &ProcessRef) -> Result<ProcessList> {
        self.call("Processes", req).await
    }
}
