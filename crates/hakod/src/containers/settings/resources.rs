//! Limits: moby's `verifyPlatformContainerResources`, for create and update.
//! What the host's cgroups cannot keep is discarded with a warning.

use crate::sysinfo::SysInfo;
use hako_api::types::HostConfig;
use hako_model::{Error, Result};

const LEAST_MEMORY: i64 = 6 << 20;
const NANO: i64 = 1_000_000_000;

/// Checks the limits of `host` and takes out what cannot be kept; answers
/// warnings. `cpus` are the host's.
///
/// # Errors
/// `InvalidParameter`, in Docker's words.
pub fn verify(host: &mut HostConfig, sys: &SysInfo, cpus: i64, update: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    memory(host, sys, update, &mut warnings)?;
    memory_extras(host, sys, &mut warnings)?;
    cpu(host, sys, cpus, &mut warnings)?;
    cpuset(host, sys, &mut warnings)?;
    blkio(host, sys, &mut warnings)?;
    Ok(warnings)
}

fn bad<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::invalid(text))
}

fn warn(warnings: &mut Vec<String>, text: &str) {
    warnings.push(text.to_owned());
}

fn memory(host: &mut HostConfig, sys: &SysInfo, update: bool, warnings: &mut Vec<String>) -> Result<()> {
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return bad("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && !sys.memory_limit {
        warn(
            warnings,
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        (host.memory, host.memory_swap) = (0, -1);
    }
    if host.memory > 0 && host.memory_swap != -1 && !sys.swap_limit {
        warn(
            warnings,
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return bad("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 && !update {
        return bad("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    Ok(())
}

fn memory_extras(host: &mut HostConfig, sys: &SysInfo, warnings: &mut Vec<String>) -> Result<()> {
    // Older clients say -1 for nothing.
    host.memory_swappiness = host.memory_swappiness.filter(|swappiness| *swappiness != -1);
    if host.memory_swappiness.is_some() && !sys.memory_swappiness {
        warn(
            warnings,
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        );
        host.memory_swappiness = None;
    }
    if let Some(swappiness) = host.memory_swappiness.filter(|swappiness| !(0..=100).contains(swappiness)) {
        return bad(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if host.memory_reservation > 0 && !sys.memory_reservation {
        warn(
            warnings,
            "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.memory_reservation = 0;
    }
    if host.memory_reservation != 0 && host.memory_reservation < LEAST_MEMORY {
        return bad("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return bad("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if host.oom_kill_disable.is_some() && !sys.oom_kill_disable {
        if host.oom_kill_disable == Some(true) {
            warn(warnings, "Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        }
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warn(
            warnings,
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        );
    }
    if host.pids_limit.is_some() && !sys.pids_limit {
        if host.pids_limit > Some(0) {
            warn(
                warnings,
                "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
            );
        }
        host.pids_limit = None;
    }
    Ok(())
}

fn cpu(host: &mut HostConfig, sys: &SysInfo, cpus: i64, warnings: &mut Vec<String>) -> Result<()> {
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return bad("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if host.nano_cpus > 0 && !sys.cpu_cfs {
        return bad(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    if host.nano_cpus < 0 || host.nano_cpus > cpus.saturating_mul(NANO) {
        return bad(format!("range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"));
    }
    if host.cpu_shares < 0 {
        return bad(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if host.cpu_shares > 0 && !sys.cpu_shares {
        warn(warnings, "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
        host.cpu_shares = 0;
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !sys.cpu_cfs {
        warn(warnings, "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_percent > 0 {
        warn(warnings, "linux does not support CPU percent. Percent discarded.");
        host.cpu_percent = 0;
    }
    Ok(())
}

fn cpuset(host: &mut HostConfig, sys: &SysInfo, warnings: &mut Vec<String>) -> Result<()> {
    let asked = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if asked && !sys.cpuset {
        warn(warnings, "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
    sys.check_cpus(&host.cpuset_cpus)?;
    sys.check_mems(&host.cpuset_mems)
}

fn blkio(host: &mut HostConfig, sys: &SysInfo, warnings: &mut Vec<String>) -> Result<()> {
    if host.blkio_weight > 0 && !sys.blkio_weight {
        warn(warnings, "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
        host.blkio_weight = 0;
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return bad("Range of blkio weight is from 10 to 1000");
    }
    let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) && !sys.blkio_weight_device {
        warn(
            warnings,
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
        );
        host.blkio_weight_device = Some(Vec::new());
    }
    let throttles = [
        (&mut host.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (&mut host.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit"),
        (&mut host.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (&mut host.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
    ];
    for (list, what, discarded) in throttles {
        if some(list) && !sys.blkio_throttle {
            warnings.push(format!(
                "Your kernel does not support {what} or the cgroup is not mounted. {discarded} discarded."
            ));
            *list = Some(Vec::new());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> SysInfo {
        SysInfo {
            memory_limit: true,
            swap_limit: true,
            memory_reservation: true,
            cpu_cfs: true,
            cpu_shares: true,
            cpuset: true,
            cpus: "0-1".into(),
            ..SysInfo::default()
        }
    }

    #[test]
    fn a_host_that_cannot_says_so_and_goes_on() {
        let mut host = HostConfig {
            memory: 64 << 20,
            cpu_shares: 7,
            cpuset_cpus: "0".into(),
            blkio_weight: 100,
            pids_limit: Some(9),
            oom_kill_disable: Some(true),
            ..HostConfig::default()
        };
        let warnings = verify(&mut host, &SysInfo::default(), 2, false).unwrap();
        assert_eq!(warnings.len(), 6, "{warnings:?}");
        assert!(warnings.iter().all(|text| text.starts_with("Your kernel does not support")), "{warnings:?}");
        assert_eq!((host.memory, host.cpu_shares, host.blkio_weight, host.pids_limit), (0, 0, 0, None));
    }

    #[test]
    fn bounds() {
        let refused = |host: HostConfig, update| verify(&mut host.clone(), &able(), 2, update).unwrap_err().message;
        let host = HostConfig { memory: 1 << 20, ..HostConfig::default() };
        assert_eq!(refused(host, false), "Minimum memory limit allowed is 6MB");
        let host = HostConfig { nano_cpus: 3 * NANO, ..HostConfig::default() };
        assert!(refused(host, true).starts_with("range of CPUs is from 0.01 to 2.00"));
        let host = HostConfig { memory_swap: 1 << 30, ..HostConfig::default() };
        assert!(verify(&mut host.clone(), &able(), 2, true).is_ok(), "update may change swap alone");
        assert!(refused(host, false).starts_with("You should always set the Memory limit"));
    }
}
