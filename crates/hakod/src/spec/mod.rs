//! From a container's record to what its shim needs: the OCI bundle, the root
//! filesystem and `sandbox.json`. The same `config.json` for both walls.

pub mod apparmor;
mod devices;
pub mod files;
pub mod mounts;
mod namespaces;
mod oci;
mod process;
pub mod resources;
mod rootfs;
mod seccomp;
mod shares;
mod step;
mod vm;

pub use process::exec_process;
pub use seccomp::SeccompCache;

use crate::{
    Engine,
    containers::{
        logs::options,
        record::{Mounted, Record},
        vm::Machine,
    },
    guests::{self, Guest},
    networks::Joined,
    programs::present,
    shim::ShimDir,
};
use hako_model::{Isolation, LogConfig, LogDriver, Result, SandboxConfig, VmConfig, WaitMount};
use hako_task::extra::{BindMount, MountRequest};
use std::path::Path;

/// The writable disk of a container behind the hyperv wall, in its folder.
pub const SCRATCH: &str = "scratch.img";

/// One mount of the root filesystem, as Task carries it.
pub type RootMount = hako_task::protos::types::mount::Mount;

/// The virtual machine that a container is to have.
pub struct MachinePlan {
    guest: Guest,
    config: VmConfig,
    workload_limit: u64,
}

impl MachinePlan {
    /// What the shim is told of it, but for its network.
    #[must_use]
    pub fn config(&self) -> &VmConfig {
        &self.config
    }
}

/// Plans it, with its disks; there is none behind the process wall.
///
/// # Errors
/// A missing image, program or host folder; what is asked for cannot be.
pub async fn machine(engine: &Engine, record: &Record) -> Result<Option<MachinePlan>> {
    match record.isolation {
        Isolation::Process => Ok(None),
        Isolation::Hyperv => {
            let image = engine.images.resolve(&record.image_id).await?;
            let plan = mounts::plan(engine, record)?;
            let guest = guests::of(engine, record, &image)?;
            let (config, sizing) = vm::config(engine, record, &image, &guest, &plan.shares).await?;
            Ok(Some(MachinePlan { guest, config, workload_limit: sizing.workload_limit }))
        }
    }
}

/// Makes the shim's folder with everything in it; answers the root filesystem.
/// `ready` is called as soon as a shim can be started on it, which is before the
/// bundle is there.
///
/// # Errors
/// A missing image, program or host folder; the kernel's; those of `ready`.
pub async fn prepare(
    engine: &Engine,
    record: &Record,
    machine: Option<MachinePlan>,
    dir: &ShimDir,
    joined: Option<&Joined>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Vec<RootMount>> {
    let image = engine.images.resolve(&record.image_id).await?;
    let log = options::for_shim(engine, record)?;
    present(&engine.programs.runtime)?;
    let plan = mounts::plan(engine, record)?;
    let (guest, mut vm, workload_limit) = match machine {
        Some(plan) => (Some(plan.guest), Some(plan.config), Some(plan.workload_limit)),
        None => (None, None, None),
    };
    if let (Some(config), Some(joined)) = (&mut vm, joined) {
        config.network = Some(joined.vm_network());
    }
    if let Some(config) = &mut vm {
        config.template = engine.templates.find(config).map(|template| template.files());
    }
    let has_shares = vm.as_ref().is_some_and(|vm| vm.shares.is_some());
    dir.make()?;
    dir.write_config(&sandbox(engine, record, log, vm))?;
    ready()?;
    let bundle = dir.bundle();
    files::write(engine, &bundle, record, guest.as_ref(), joined)?;
    step::files(&bundle, &record.step)?;
    let namespaces = namespaces::of(engine, record, joined)?;
    let spec = oci::spec(engine, record, &bundle, guest.as_ref(), &namespaces, &plan, workload_limit).await?;
    let text = serde_json::to_vec(&spec).map_err(|err| hako_model::Error::internal(err.to_string()))?;
    std::fs::write(bundle.join("config.json"), text)?;
    let mut rootfs = match record.isolation {
        Isolation::Process => rootfs::overlay(engine, record, &image, dir)?,
        Isolation::Hyperv => rootfs::disks(),
    };
    if has_shares {
        rootfs.push(shares::mount());
    }
    rootfs.extend(namespaces.mount);
    rootfs.extend(plan.root);
    rootfs.extend(step::mounts(&record.step)?);
    Ok(rootfs)
}

/// The `config.json` of a rehearsal, whose other files are in `bundle`.
///
/// # Errors
/// As [`prepare`].
pub async fn rehearsal(engine: &Engine, record: &Record, bundle: &Path, guest: &Guest) -> Result<()> {
    let plan = mounts::plan(engine, record)?;
    let namespaces = namespaces::of(engine, record, None)?;
    let spec = oci::spec(engine, record, bundle, Some(guest), &namespaces, &plan, None).await?;
    let text = serde_json::to_vec(&spec).map_err(|err| hako_model::Error::internal(err.to_string()))?;
    Ok(std::fs::write(bundle.join("config.json"), text)?)
}

/// What a rehearsal mounts: what containers do.
#[must_use]
pub fn rehearsed_disks() -> Vec<WaitMount> {
    let mount = |mount: RootMount| {
        let RootMount { type_: kind, source, target, options, .. } = mount;
        WaitMount { kind, source, target, options }
    };
    rootfs::disks().into_iter().map(mount).collect()
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
    // What a start would make is made here as well.
    let plan = mounts::plan(engine, record)?;
    let vm = match record.isolation {
        Isolation::Process => None,
        Isolation::Hyperv => {
            let mut small = record.clone();
            let guest = guests::of(engine, record, &image)?;
            // One that is a copy costs no more for being like all the others.
            let (accelerator, _) = engine.accelerator.for_guest(&guest).await?;
            let alike = engine.templates.serve(accelerator);
            (small.host.memory, small.host.nano_cpus) = if alike { (0, 0) } else { (FILES_MEMORY, 1_000_000_000) };
            // The disk is the same, and so is how it runs; nothing else matters to files.
            let Machine { own, usual } = &mut small.vm;
            for options in [own, usual] {
                (options.memory_mib, options.cpus) = (None, None);
                options.kernel_args.clear();
            }
            // What a build's step had mounted is none of its files.
            small.step.clear();
            let mut config = vm::config(engine, &small, &image, &guest, &plan.shares).await?.0;
            config.template = engine.templates.find(&config).map(|template| template.files());
            Some(config)
        }
    };
    dir.make()?;
    let mut rootfs = match record.isolation {
        Isolation::Process => rootfs::overlay(engine, record, &image, dir)?,
        Isolation::Hyperv => rootfs::disks(),
    };
    if vm.as_ref().is_some_and(|vm| vm.shares.is_some()) {
        rootfs.push(shares::mount());
    }
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
        binds: files_binds(engine, record, &plan),
        read_only: record.host.readonly_rootfs,
    })
}

fn files_mount(mount: RootMount) -> hako_task::extra::RootMount {
    let RootMount { type_: kind, source, target, options, .. } = mount;
    hako_task::extra::RootMount { kind, source, target, options }
}

/// Outer folders first.
fn files_binds(engine: &Engine, record: &Record, plan: &mounts::Plan) -> Vec<BindMount> {
    let bind = |(mounted, planned): (&Mounted, &String)| {
        // What the shim would put into the bundle for a start, it finds itself here.
        let (source, beneath) = match record.isolation {
            Isolation::Process => (mounts::source(engine, mounted).display().to_string(), mounted.subpath.clone()),
            Isolation::Hyperv => (planned.clone(), String::new()),
        };
        BindMount { source, destination: mounted.point.destination.clone(), beneath, read_only: !mounted.point.rw }
    };
    let of_host = record.mounts.iter().zip(&plan.sources).filter(|(mounted, _)| mounted.is_of_host());
    let mut binds: Vec<BindMount> = of_host.map(bind).collect();
    binds.sort_by_key(|bind| bind.destination.matches('/').count());
    binds
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
