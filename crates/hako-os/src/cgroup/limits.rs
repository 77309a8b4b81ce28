//! Limits onto a group's files, for a new group and for one in use. The order
//! matters where the kernel refuses a state in between. A limit whose
//! controller is not there is an error: whoever asks has been told before.

use super::{Cgroup, read_number};
use hako_model::resources::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Sets what `resources` says on `group`; what it does not say stays.
///
/// # Errors
/// The kernel's, with the file's name and the value.
pub fn apply(group: &Cgroup, resources: &Resources) -> io::Result<()> {
    let unified = group.is_unified();
    if !resources.cpu.is_empty() {
        cpuset(group, &resources.cpu)?;
        if unified { cpu_v2(group, &resources.cpu)? } else { cpu_v1(group, &resources.cpu)? }
    }
    if !resources.memory.is_empty() {
        if unified { memory_v2(group, resources.memory)? } else { memory_v1(group, resources.memory)? }
    }
    if let Some(limit) = resources.pids.limit {
        write(&dir(group, "pids")?.join("pids.max"), &or_max(limit))?;
    }
    if !resources.block_io.is_empty() {
        if unified { io_v2(group, &resources.block_io)? } else { blkio_v1(group, &resources.block_io)? }
    }
    Ok(())
}

/// The directory of a controller, which must be there.
fn dir(group: &Cgroup, controller: &str) -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("this host has no {controller} cgroup"));
    group.dir(controller).map(Path::to_owned).ok_or_else(none)
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    let named = |err: io::Error| io::Error::new(err.kind(), format!("write {value:?} to {}: {err}", file.display()));
    fs::write(file, value).map_err(named)
}

/// A number, or version 2's word for none.
fn or_max(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

fn cpuset(group: &Cgroup, cpu: &Cpu) -> io::Result<()> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(list) = list {
            write(&dir(group, "cpuset")?.join(file), list)?;
        }
    }
    Ok(())
}

fn cpu_v1(group: &Cgroup, cpu: &Cpu) -> io::Result<()> {
    let dir = dir(group, "cpu")?;
    if let Some(shares) = cpu.shares {
        write(&dir.join("cpu.shares"), &shares.to_string())?;
    }
    let (period_file, quota_file) = (dir.join("cpu.cfs_period_us"), dir.join("cpu.cfs_quota_us"));
    let quota = cpu.quota.map(|quota| quota.to_string());
    if let Some(period) = cpu.period {
        let period = period.to_string();
        // The old quota may be too much of the new period: then the new one first.
        if let (Err(_), Some(quota)) = (write(&period_file, &period), &quota) {
            write(&quota_file, quota)?;
        }
        write(&period_file, &period)?;
    }
    match quota {
        Some(quota) => write(&quota_file, &quota),
        None => Ok(()),
    }
}

/// cgroup2's weight of version 1's shares: 2..262144 onto 1..10000, as runc does it.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn cpu_v2(group: &Cgroup, cpu: &Cpu) -> io::Result<()> {
    let dir = dir(group, "cpu")?;
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        write(&dir.join("cpu.weight"), &weight_of_shares(shares).to_string())?;
    }
    if cpu.quota.is_none() && cpu.period.is_none() {
        return Ok(());
    }
    let file = dir.join("cpu.max");
    let now = fs::read_to_string(&file).unwrap_or_default();
    let quota = match cpu.quota {
        Some(quota) => or_max(quota),
        None => now.split_whitespace().next().unwrap_or("max").to_owned(),
    };
    // Without a period the kernel keeps the one that there is.
    write(&file, &cpu.period.map_or(quota.clone(), |period| format!("{quota} {period}")))
}

fn memory_v1(group: &Cgroup, memory: Memory) -> io::Result<()> {
    let dir = dir(group, "memory")?;
    let (limit_file, swap_file) = (dir.join("memory.limit_in_bytes"), dir.join("memory.memsw.limit_in_bytes"));
    let counted = swap_file.exists();
    // No limit of memory means none of both together.
    let swap = memory.swap.or(memory.limit.filter(|limit| *limit == -1)).filter(|_| counted);
    let set_limit = || memory.limit.map_or(Ok(()), |limit| write(&limit_file, &limit.to_string()));
    let set_swap = || swap.map_or(Ok(()), |swap| write(&swap_file, &swap.to_string()));
    // Both together can never be less than memory alone, also not in between.
    let grows = swap.is_some_and(|swap| swap == -1 || u64::try_from(swap).ok() > read_number(&swap_file));
    if grows {
        set_swap()?;
        set_limit()?;
    } else {
        set_limit()?;
        set_swap()?;
    }
    if let Some(reservation) = memory.reservation {
        write(&dir.join("memory.soft_limit_in_bytes"), &reservation.to_string())?;
    }
    if let Some(swappiness) = memory.swappiness {
        write(&dir.join("memory.swappiness"), &swappiness.to_string())?;
    }
    if let Some(disable) = memory.disable_oom_killer {
        write(&dir.join("memory.oom_control"), if disable { "1" } else { "0" })?;
    }
    Ok(())
}

fn memory_v2(group: &Cgroup, memory: Memory) -> io::Result<()> {
    let dir = dir(group, "memory")?;
    let swap_file = dir.join("memory.swap.max");
    if let Some(swap) = swap_alone(memory).filter(|_| swap_file.exists()) {
        write(&swap_file, &swap)?;
    }
    if let Some(limit) = memory.limit {
        write(&dir.join("memory.max"), &or_max(limit))?;
    }
    if let Some(reservation) = memory.reservation {
        write(&dir.join("memory.low"), &reservation.max(0).to_string())?;
    }
    Ok(())
}

/// cgroup2's limit of swap: OCI counts memory and swap together.
fn swap_alone(memory: Memory) -> Option<String> {
    match (memory.swap, memory.limit) {
        (Some(swap), Some(limit)) if swap > 0 && limit > 0 => Some((swap - limit).max(0).to_string()),
        (Some(-1), _) | (None, Some(-1)) => Some("max".to_owned()),
        (Some(_) | None, _) => None,
    }
}

/// The files of a throttled device on version 1, and cgroup2's word.
const THROTTLES: [(&str, &str); 4] = [
    ("blkio.throttle.read_bps_device", "rbps"),
    ("blkio.throttle.write_bps_device", "wbps"),
    ("blkio.throttle.read_iops_device", "riops"),
    ("blkio.throttle.write_iops_device", "wiops"),
];

fn throttles(io: &BlockIo) -> impl Iterator<Item = ((&'static str, &'static str), &ThrottleDevice)> {
    let lists = [
        &io.throttle_read_bps_device,
        &io.throttle_write_bps_device,
        &io.throttle_read_iops_device,
        &io.throttle_write_iops_device,
    ];
    THROTTLES.into_iter().zip(lists).flat_map(|(names, list)| list.iter().map(move |device| (names, device)))
}

fn blkio_v1(group: &Cgroup, io: &BlockIo) -> io::Result<()> {
    let dir = dir(group, "blkio")?;
    // Kernels since 5.0 have the weights of the BFQ scheduler alone.
    let either = |old: &str, bfq: &str| if dir.join(old).exists() { dir.join(old) } else { dir.join(bfq) };
    if let Some(weight) = io.weight.filter(|weight| *weight > 0) {
        write(&either("blkio.weight", "blkio.bfq.weight"), &weight.to_string())?;
    }
    for device in &io.weight_device {
        let line = format!("{}:{} {}", device.major, device.minor, device.weight);
        write(&either("blkio.weight_device", "blkio.bfq.weight_device"), &line)?;
    }
    for ((file, _), device) in throttles(io) {
        write(&dir.join(file), &format!("{}:{} {}", device.major, device.minor, device.rate))?;
    }
    Ok(())
}

/// io.weight's range of version 1's: 10..1000 onto 1..10000, as runc does it.
fn io_weight(weight: u16) -> u32 {
    1 + (u32::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn io_v2(group: &Cgroup, io: &BlockIo) -> io::Result<()> {
    let dir = dir(group, "io")?;
    let bfq = dir.join("io.bfq.weight");
    let (file, scale): (PathBuf, fn(u16) -> u32) =
        if bfq.exists() { (bfq, u32::from) } else { (dir.join("io.weight"), io_weight) };
    if let Some(weight) = io.weight.filter(|weight| *weight > 0) {
        write(&file, &format!("default {}", scale(weight)))?;
    }
    for device in &io.weight_device {
        write(&file, &format!("{}:{} {}", device.major, device.minor, scale(device.weight)))?;
    }
    for ((_, word), device) in throttles(io) {
        let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
        write(&dir.join("io.max"), &format!("{}:{} {word}={rate}", device.major, device.minor))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales() {
        assert_eq!(weight_of_shares(2), 1);
        assert_eq!(weight_of_shares(1024), 39);
        assert_eq!(weight_of_shares(1 << 40), 10_000);
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
    }

    #[test]
    fn swap_is_counted_apart_on_version_2() {
        let swap = |swap, limit| swap_alone(Memory { swap, limit, ..Memory::default() });
        assert_eq!(swap(Some(30), Some(10)).as_deref(), Some("20"));
        assert_eq!(swap(Some(10), Some(10)).as_deref(), Some("0"));
        assert_eq!(swap(Some(-1), Some(10)).as_deref(), Some("max"));
        assert_eq!(swap(None, Some(10)), None);
        assert_eq!(swap(None, Some(-1)).as_deref(), Some("max"));
    }
}
