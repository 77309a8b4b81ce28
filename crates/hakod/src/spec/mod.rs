//! From a container's record to what its shim needs: the OCI bundle, the root
//! filesystem and `sandbox.json`. The same `config.json` for both walls.

pub mod apparmor;
mod devices;
mod files;
pub mod mounts;
mod namespaces;
mod oci;
mod process;
pub mod resources;
mod rootfs;
mod seccomp;
mod step;
mod vm;

pub use process::exec_process;
pub use seccomp::SeccompCache;

use crate::{
    Engine,
    containers::{logs::options, record::Record},
    programs::present,
    shim::ShimDir,
};
use hako_model::{Isolation, LogConfig, LogDriver, Result, SandboxConfig, VmConfig};
use hako_task::extra::{BindMount, MountRequest};

/// One mount of the root filesystem, as Task carries it.
pub type RootMount = hako_task::protos::types::mount::Mount;

/// Makes the shim's folder with everything in it; answers the root filesystem.
///
/// # Errors
/// A missing image, program or host folder; the kernel's.
pub async fn prepare(engine: &Engine, record: &Record, dir: &ShimDir) -> Result<Vec<RootMount>> {
    let image = engine.images.resolve(&record.image_id).await?;
    let log = options::for_shim(engine, record)?;
    present(&engine.programs.runtime)?;
    let vm = match record.isolation {
        Isolation::Process => None,
        Isolation::Hyperv => Some(vm::config(engine, record, &image).await?),
    };
    dir.make()?;
    let bundle = dir.bundle();
    files::write(&bundle, record, &engine.programs)?;
    step::files(&bundle, &record.step)?;
    let workload_limit = vm.as_ref().map(|(_, sizing)| sizing.workload_limit);
    let namespaces = namespaces::of(engine, record)?;
    let plan = mounts::plan(engine, record)?;
    let spec = oci::spec(engine, record, &bundle, &namespaces, &plan, workload_limit).await?;
    let text = serde_json::to_vec(&spec).map_err(|err| hako_model::Error::internal(err.to_string()))?;
    std::fs::write(bundle.join("config.json"), text)?;
    let mut rootfs = match record.isolation {
        Isolation::Process => rootfs::overlay(engine, record, &image, dir)?,
        Isolation::Hyperv => rootfs::disks(),
    };
    rootfs.extend(namespaces.mount);
    rootfs.extend(plan.root);
    rootfs.extend(step::mounts(&record.step)?);
    dir.write_config(&sandbox(engine, record, log, vm.map(|(config, _)| config)))?;
    Ok(rootfs)
}

/// Memory of a virtual machine in which nothing runs but the agent.
const FILES_MEMORY: i64 = 128 << 20;

/// Makes the shim's folder for a container that does not run, of which only
/// the files are wanted; answers what is to be mounted.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_files(engine: &Engine, record: &Record, dir: &ShimDir) -> Result<MountRequest> {
    let image = engine.images.resolve(&record.image_id).await?;
    let vm = match record.isolation {
        Isolation::Process => None,
        Isolation::Hyperv => {
            let mut small = record.clone();
            (small.host.memory, small.host.nano_cpus) = (FILES_MEMORY, 1_000_000_000);
            // What a build's step had mounted is none of its files.
            small.step.clear();
            Some(vm::config(engine, &small, &image).await?.0)
        }
    };
    dir.make()?;
    let rootfs = match record.isolation {
        Isolation::Process => rootfs::overlay(engine, record, &image, dir)?,
        Isolation::Hyperv => rootfs::disks(),
    };
    let config = SandboxConfig {
        // What is copied into a container must be there when it starts.
        ephemeral: false,
        ..sandbox(engine, record, LogConfig::plain(LogDriver::None, None), vm)
    };
    dir.write_config(&config)?;
    Ok(MountRequest {
        id: record.id.to_string(),
        bundle: dir.bundle().display().to_string(),
        rootfs: rootfs.into_iter().map(files_mount).collect(),
        binds: files_binds(engine, record)?,
        read_only: record.host.readonly_rootfs,
    })
}

fn files_mount(mount: RootMount) -> hako_task::extra::RootMount {
    let RootMount { type_: kind, source, target, options, .. } = mount;
    hako_task::extra::RootMount { kind, source, target, options }
}

/// Outer folders first. What a start would make is made here as well.
fn files_binds(engine: &Engine, record: &Record) -> Result<Vec<BindMount>> {
    mounts::plan(engine, record)?;
    let of_host = record.mounts.iter().filter(|mounted| mounted.is_of_host());
    let mut binds: Vec<BindMount> = of_host
        .map(|mounted| BindMount {
            source: mounts::source(engine, mounted).display().to_string(),
            destination: mounted.point.destination.clone(),
            beneath: mounted.subpath.clone(),
            read_only: !mounted.point.rw,
        })
        .collect();
    binds.sort_by_key(|bind| bind.destination.matches('/').count());
    Ok(binds)
}

/// The words of an error number, as Go has them.
fn errno(errno: rustix::io::Errno) -> String {
    devices::words(errno)
}

fn sandbox(engine: &Engine, record: &Record, log: LogConfig, vm: Option<VmConfig>) -> SandboxConfig {
    SandboxConfig {
        id: record.id.clone(),
        isolation: record.isolation,
        log,
        open_stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        runtime: engine.programs.runtime.clone(),
        runtime_root: engine.runtime_root(record.id.as_str()),
        vm,
        ephemeral: record.host.auto_remove,
    }
}
