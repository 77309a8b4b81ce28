//! The virtual machine of a container behind the hyperv wall.

use crate::{
    Engine,
    accelerator::{self, QEMU},
    containers::{record::Record, settings::storage_size},
    images::ResolvedImage,
    programs::present,
    spec::resources::PERIOD,
    sysinfo::numbers,
};
use hako_api::types::HostConfig;
use hako_model::{BootConfig, Disk, Error, Result, Share, Shares, VmConfig};
use hako_sandbox::microvm::sizing::{Host, Sizing, sizing};

/// The container's writable disk: sparse, so this is a bound and not a cost.
const SCRATCH: u64 = 20 << 30;
const MIB: u64 = 1 << 20;
/// A boot takes half a second; on a busy, emulated host many times that.
const DEADLINE_MS: u64 = 60_000;
const ATTEMPTS: u32 = 2;

/// The VM and its size, with `shares` of the host; makes the disks that are not there yet.
///
/// # Errors
/// QEMU or the guest is missing, or a disk cannot be made.
pub async fn config(
    engine: &Engine,
    record: &Record,
    image: &ResolvedImage,
    shares: &[Share],
) -> Result<(VmConfig, Sizing)> {
    let kernel = present(&engine.programs.kernel)?.to_owned();
    let initramfs = present(&engine.programs.initramfs)?.to_owned();
    let probe = engine.accelerator.get().await?;
    let host = Host {
        memory: u64::try_from(engine.host.memory).unwrap_or(0),
        cpus: cpus(engine, &record.host),
        accelerator: probe.accelerator,
    };
    let size = sizing(host, positive(record.host.memory), nano_cpus(&record.host));
    let rootfs = engine.images.rootfs_erofs(image).await?;
    let scratch = engine.container_dir(record.id.as_str()).join("scratch.img");
    if !scratch.is_file() {
        let size = storage_size(&record.host, record.isolation)?.unwrap_or(SCRATCH);
        engine
            .images
            .scratch_disk(size.next_multiple_of(MIB), scratch.clone())
            .await
            .map_err(|err| err.context("scratch disk"))?;
    }
    let mut disks = vec![
        Disk { serial: "rootfs".to_owned(), path: rootfs, read_only: true },
        Disk { serial: "scratch".to_owned(), path: scratch, read_only: false },
    ];
    disks.extend(super::step::disks(&record.step));
    let vm = VmConfig {
        boot: BootConfig {
            qemu: QEMU.into(),
            kernel,
            initramfs,
            accelerator: accelerator::name(probe.accelerator).to_owned(),
            kernel_args: probe.kernel_args,
            deadline_ms: DEADLINE_MS,
            attempts: ATTEMPTS,
        },
        memory_mib: size.memory_mib,
        cpus: size.cpus,
        most_cpus: size.most_cpus,
        disks,
        shares: (!shares.is_empty()).then(|| Shares { server: engine.programs.shim.clone(), list: shares.to_vec() }),
        network: None,
    };
    if vm.memory_mib * 1024 * 1024 > host.memory {
        return Err(Error::invalid(format!(
            "container {} needs a virtual machine of {} MiB, and this host has {} MiB",
            record.id,
            vm.memory_mib,
            host.memory >> 20
        )));
    }
    Ok((vm, size))
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

/// The host's CPUs, as far as `--cpuset-cpus` gives them: more virtual ones
/// would only take turns.
fn cpus(engine: &Engine, host: &HostConfig) -> u32 {
    let all = u32::try_from(engine.host.cpus).unwrap_or(1);
    match numbers(&host.cpuset_cpus) {
        Ok(list) if !list.is_empty() => u32::try_from(list.len()).unwrap_or(all).min(all),
        Ok(_) | Err(_) => all,
    }
}

/// `--cpus`, or what `--cpu-quota` and `--cpu-period` make of them.
fn nano_cpus(host: &HostConfig) -> Option<u64> {
    positive(host.nano_cpus).or_else(|| {
        let (quota, period) = (positive(host.cpu_quota)?, positive(host.cpu_period).unwrap_or(PERIOD));
        Some(quota.saturating_mul(1_000_000_000) / period)
    })
}
