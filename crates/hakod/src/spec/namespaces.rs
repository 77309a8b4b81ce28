//! The namespaces of a container: its own, the host's, or another container's.

use super::{RootMount, files};
use crate::{
    Engine,
    containers::record::Record,
    containers::{record::State, settings::namespaces::joined},
    networks::Joined,
};
use hako_model::{Error, ErrorKind, Isolation, Result};
use hako_os::process::start_time;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The shared memory of another container, in the bundle.
const SHM: &str = "shm";

/// What becomes of the modes.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// `linux.namespaces`.
    pub oci: Vec<Value>,
    /// When the joined containers' first processes began: annotation `hako.join`.
    pub join: String,
    /// What `/dev/shm` is a bind mount of, if it is one.
    pub shm: Option<&'static str>,
    /// Where that comes from, if it is another container's.
    pub mount: Option<RootMount>,
    /// Where the container has its files whose `hosts`, `hostname` and `resolv.conf` it shares.
    pub files: Option<PathBuf>,
}

/// A container to join: its first process and when that began.
struct Donor {
    pid: i32,
    start: u64,
}

/// The namespaces for a start that happens now.
///
/// # Errors
/// A container to join does not run, or does not share.
pub fn of(engine: &Engine, record: &Record, network: Option<&Joined>) -> Result<Namespaces> {
    let host = &record.host;
    let mut found = Namespaces::default();
    let own = |kind: &str| json!({"type": kind});
    found.oci.push(own("mount"));
    if host.uts_mode != "host" {
        found.oci.push(own("uts"));
    }
    if host.cgroupns_mode == "private" && engine.host.sys.of(record.isolation).cgroup_namespaces {
        found.oci.push(own("cgroup"));
    }
    let mut donors = Vec::new();
    match (host.network_mode.as_str(), joined(&host.network_mode), network) {
        (_, Some(id), _) => {
            let donor = donor(engine, id).map_err(|err| match err.kind {
                ErrorKind::Conflict => Error::conflict(format!("cannot join network of a non running container: {id}")),
                _ => err,
            })?;
            found.oci.push(json!({"type": "network", "path": format!("/proc/{}/ns/net", donor.pid)}));
            // Both are behind the process wall.
            found.files = Some(files::present_place(engine, id, Isolation::Process));
            donors.push(donor);
        }
        ("host", None, _) => {}
        (_, None, Some(made)) => found.oci.push(json!({"type": "network", "path": made.namespace})),
        (_, None, None) => found.oci.push(own("network")),
    }
    match (host.pid_mode.as_str(), joined(&host.pid_mode)) {
        (_, Some(id)) => {
            let donor = donor(engine, id).map_err(|err| err.context("failed to join PID namespace"))?;
            found.oci.push(json!({"type": "pid", "path": format!("/proc/{}/ns/pid", donor.pid)}));
            donors.push(donor);
        }
        ("host", None) => {}
        (_, None) => found.oci.push(own("pid")),
    }
    match (host.ipc_mode.as_str(), joined(&host.ipc_mode)) {
        (_, Some(id)) => {
            let donor = shareable(engine, id).map_err(|err| err.context("failed to join IPC namespace"))?;
            found.oci.push(json!({"type": "ipc", "path": format!("/proc/{}/ns/ipc", donor.pid)}));
            found.shm = Some(SHM);
            found.mount = Some(RootMount {
                type_: "shared".to_owned(),
                source: format!("{}={}:/dev/shm", donor.pid, donor.start),
                target: SHM.to_owned(),
                ..RootMount::default()
            });
            donors.push(donor);
        }
        ("host", None) => {
            if !Path::new("/dev/shm").is_dir() {
                return Err(Error::internal("/dev/shm is not mounted, but must be for --ipc=host"));
            }
            found.shm = Some("/dev/shm");
        }
        (_, None) => found.oci.push(own("ipc")),
    }
    let pairs: Vec<String> = donors.iter().map(|donor| format!("{}={}", donor.pid, donor.start)).collect();
    found.join = pairs.join(",");
    Ok(found)
}

/// A container that runs behind the process wall.
fn donor(engine: &Engine, id: &str) -> Result<Donor> {
    let other = engine.containers.find(id).map_err(|err| Error::invalid(err.message))?;
    let not_running = || Error::conflict(format!("container {id} is not running"));
    let pid = || match &other.view().record.state {
        State::Running(run) | State::Paused(run) => i32::try_from(run.pid).map_err(|_| not_running()),
        State::Created { .. }
        | State::Starting { .. }
        | State::Restarting(_)
        | State::Exited(_)
        | State::Removing { .. }
        | State::Dead { .. } => Err(not_running()),
    };
    let first = pid()?;
    let start = start_time(first).ok_or_else(not_running)?;
    // It was that container's when its beginning was read.
    if pid()? != first {
        return Err(not_running());
    }
    Ok(Donor { pid: first, start })
}

/// A container whose IPC namespace others may join.
fn shareable(engine: &Engine, id: &str) -> Result<Donor> {
    let donor = donor(engine, id)?;
    let mode = engine.containers.find(id)?.view().record.host.ipc_mode.clone();
    if matches!(mode.as_str(), "shareable" | "host") || joined(&mode).is_some() {
        return Ok(donor);
    }
    Err(Error::invalid(format!(
        "container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )))
}
