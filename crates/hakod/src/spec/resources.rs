//! Limits as OCI's `linux.resources`, for create and for update.

use crate::containers::record::Record;
use hako_api::types::HostConfig;
use hako_model::{
    Error, Result,
    resources::{BlockIo, Cpu, Memory, Pids, Resources, ThrottleDevice, WeightDevice},
};
use rustix::fs::{major, minor, stat};

/// Microseconds in which `--cpus` is counted, as Docker's.
pub const PERIOD: u64 = 100_000;

/// The limits of a container. `workload_limit` is the memory that a VM leaves
/// for it, whether it asked for a limit or not.
///
/// # Errors
/// A device that is not there.
pub fn of(record: &Record, workload_limit: Option<u64>) -> Result<Resources> {
    let mut resources = asked(&record.host)?;
    if let Some(limit) = workload_limit {
        resources.memory.limit = Some(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    if workload_limit.is_some() {
        // A guest has no swap at all.
        resources.memory.swap = None;
    }
    Ok(resources)
}

/// What `host` says; what it does not say is absent.
///
/// # Errors
/// A device that is not there.
pub fn asked(host: &HostConfig) -> Result<Resources> {
    let set = |value: i64| (value != 0).then_some(value);
    let (period, quota) = if host.nano_cpus > 0 {
        let quota = i128::from(host.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
        (Some(PERIOD), i64::try_from(quota).ok())
    } else {
        (u64::try_from(host.cpu_period).ok().filter(|period| *period > 0), set(host.cpu_quota))
    };
    let list = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Resources {
        memory: Memory {
            limit: set(host.memory),
            reservation: set(host.memory_reservation),
            swap: set(host.memory_swap),
            swappiness: host.memory_swappiness.and_then(|swappiness| u64::try_from(swappiness).ok()),
            disable_oom_killer: host.oom_kill_disable.filter(|disable| *disable),
        },
        cpu: Cpu {
            shares: u64::try_from(host.cpu_shares).ok().filter(|shares| *shares > 0),
            quota,
            period,
            cpus: list(&host.cpuset_cpus),
            mems: list(&host.cpuset_mems),
        },
        pids: Pids { limit: host.pids_limit.map(|limit| if limit > 0 { limit } else { -1 }) },
        block_io: block_io(host)?,
    })
}

fn block_io(host: &HostConfig) -> Result<BlockIo> {
    let throttles = |list: &Option<Vec<hako_api::types::ThrottleDevice>>| {
        let one = |device: &hako_api::types::ThrottleDevice| {
            let (major, minor) = numbers(&device.path)?;
            Ok(ThrottleDevice { major, minor, rate: device.rate })
        };
        list.iter().flatten().map(one).collect::<Result<Vec<_>>>()
    };
    let weight = |device: &hako_api::types::WeightDevice| {
        let (major, minor) = numbers(&device.path)?;
        Ok(WeightDevice { major, minor, weight: device.weight })
    };
    Ok(BlockIo {
        weight: Some(host.blkio_weight).filter(|weight| *weight > 0),
        weight_device: host.blkio_weight_device.iter().flatten().map(weight).collect::<Result<_>>()?,
        throttle_read_bps_device: throttles(&host.blkio_device_read_bps)?,
        throttle_write_bps_device: throttles(&host.blkio_device_write_bps)?,
        throttle_read_iops_device: throttles(&host.blkio_device_read_iops)?,
        throttle_write_iops_device: throttles(&host.blkio_device_write_iops)?,
    })
}

/// The numbers of the host's device at `path`.
fn numbers(path: &str) -> Result<(u64, u64)> {
    let found = stat(path).map_err(|err| Error::internal(format!("stat {path}: {}", super::errno(err))))?;
    Ok((u64::from(major(found.st_rdev)), u64::from(minor(found.st_rdev))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_limits() {
        let host = HostConfig {
            nano_cpus: 1_500_000_000,
            cpu_shares: 512,
            memory: 7,
            memory_swap: -1,
            pids_limit: Some(0),
            blkio_device_read_bps: Some(vec![hako_api::types::ThrottleDevice { path: "/dev/null".into(), rate: 9 }]),
            ..HostConfig::default()
        };
        let found = asked(&host).unwrap();
        assert_eq!((found.cpu.quota, found.cpu.period, found.cpu.shares), (Some(150_000), Some(100_000), Some(512)));
        assert_eq!((found.memory.limit, found.memory.swap, found.pids.limit), (Some(7), Some(-1), Some(-1)));
        assert_eq!(found.block_io.throttle_read_bps_device, [ThrottleDevice { major: 1, minor: 3, rate: 9 }]);
        let host = HostConfig {
            blkio_device_write_iops: Some(vec![hako_api::types::ThrottleDevice { path: "/dev/none".into(), rate: 9 }]),
            ..HostConfig::default()
        };
        assert_eq!(asked(&host).unwrap_err().message, "stat /dev/none: no such file or directory");
        assert!(asked(&HostConfig::default()).unwrap().is_empty());
    }
}
