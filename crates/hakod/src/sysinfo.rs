//! What the cgroups of a host can limit. A limit that cannot be kept is
//! discarded with a warning in moby's words, so this says what can.

use hako_api::unsupported::HostFacts;
use hako_model::{Error, Isolation, Result};
use hako_os::cgroup;
use std::{collections::BTreeSet, fs, path::Path};

/// The facts; `true` where the kernel has it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // The names are moby's (pkg/sysinfo).
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct SysInfo {
    pub memory_limit: bool,
    pub swap_limit: bool,
    pub memory_reservation: bool,
    pub oom_kill_disable: bool,
    pub memory_swappiness: bool,
    pub pids_limit: bool,
    pub cpu_shares: bool,
    pub cpu_cfs: bool,
    pub cpuset: bool,
    pub cpus: String,
    pub mems: String,
    pub blkio_weight: bool,
    pub blkio_weight_device: bool,
    pub blkio_throttle: bool,
    pub cgroup_namespaces: bool,
    pub apparmor: bool,
    pub selinux: bool,
}

impl SysInfo {
    /// Reads them; what cannot be read is not there.
    #[must_use]
    pub fn read() -> Self {
        let has = |path: &str| fs::exists(path).unwrap_or(false);
        let v2 = cgroup::unified_root();
        let mut info = match &v2 {
            Some(root) => unified(root),
            None => legacy(),
        };
        info.cgroup_namespaces = has("/proc/self/ns/cgroup");
        info.apparmor = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
        info.selinux = has("/sys/fs/selinux/enforce");
        info
    }

    /// What holds for a container behind `wall`. A guest counts memory,
    /// processes and CPU time itself, on cgroup2; what compares containers with
    /// each other is the host's.
    #[must_use]
    pub fn of(&self, wall: Isolation) -> Self {
        match wall {
            Isolation::Process => self.clone(),
            Isolation::Hyperv => Self {
                memory_limit: true,
                swap_limit: true,
                memory_reservation: true,
                oom_kill_disable: false,
                memory_swappiness: false,
                pids_limit: true,
                cpu_cfs: true,
                cgroup_namespaces: true,
                ..self.clone()
            },
        }
    }

    /// What `info` warns of: moby's `fillPlatformInfo`. What version 2 does not
    /// have at all, and version 1 has lost with Linux 5.0, is nobody's to change.
    #[must_use]
    pub fn warnings(&self, unified: bool) -> Vec<String> {
        let throttle = |v2: &str, v1: &str| if unified { format!("io.max ({v2})") } else { format!("blkio throttle.{v1}_device") };
        let facts = [
            (self.memory_limit, "memory limit".to_owned()),
            (self.swap_limit, "swap limit".to_owned()),
            (self.oom_kill_disable || unified, "oom kill disable".to_owned()),
            (self.cpu_cfs, "cpu cfs quota".to_owned()),
            (self.cpu_cfs, "cpu cfs period".to_owned()),
            (self.cpu_shares, "cpu shares".to_owned()),
            (self.cpuset, "cpuset".to_owned()),
            (self.blkio_weight || !unified, "io.weight".to_owned()),
            (self.blkio_weight_device || !unified, "io.weight (per device)".to_owned()),
            (self.blkio_throttle, throttle("rbps", "read_bps")),
            (self.blkio_throttle, throttle("wbps", "write_bps")),
            (self.blkio_throttle, throttle("riops", "read_iops")),
            (self.blkio_throttle, throttle("wiops", "write_iops")),
        ];
        facts.into_iter().filter(|(has, _)| !has).map(|(_, what)| format!("WARNING: No {what} support")).collect()
    }

    /// What the table of refusals asks about the host.
    #[must_use]
    pub fn facts(&self) -> HostFacts {
        HostFacts { apparmor: self.apparmor, selinux: self.selinux }
    }

    /// Checks `--cpuset-cpus`.
    ///
    /// # Errors
    /// In moby's words.
    pub fn check_cpus(&self, requested: &str) -> Result<()> {
        let missing = || {
            let available = &self.cpus;
            format!("Requested CPUs are not available - requested {requested}, available: {available}")
        };
        check_list(requested, &self.cpus, "cpus", missing)
    }

    /// Checks `--cpuset-mems`.
    ///
    /// # Errors
    /// In moby's words.
    pub fn check_mems(&self, requested: &str) -> Result<()> {
        let missing = || {
            let available = &self.mems;
            format!("Requested memory nodes are not available - requested {requested}, available: {available}")
        };
        check_list(requested, &self.mems, "mems", missing)
    }
}

fn check_list(requested: &str, available: &str, what: &str, missing: impl Fn() -> String) -> Result<()> {
    let asked = numbers(requested)
        .map_err(|why| Error::invalid(format!("Invalid value {requested} for cpuset {what}: {why}")))?;
    // A host whose own list cannot be read refuses later, in the kernel's words.
    let there = numbers(available).unwrap_or_default();
    if there.is_empty() || asked.is_subset(&there) { Ok(()) } else { Err(Error::invalid(missing())) }
}

/// The largest number of a list: more than any machine has CPUs.
const MOST: u32 = 8191;

/// The numbers of a list such as `0-2,5`.
///
/// # Errors
/// `invalid format: …`, as moby says it.
pub fn numbers(list: &str) -> std::result::Result<BTreeSet<u32>, String> {
    let bad = || format!("invalid format: {list}");
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number) if number > MOST => Err(format!("value of out range, maximum is {MOST}")),
        Ok(number) => Ok(number),
        Err(_) => Err(bad()),
    };
    let mut found = BTreeSet::new();
    for part in list.split(',').filter(|_| !list.is_empty()) {
        match part.split_once('-') {
            None => _ = found.insert(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return Err(bad());
                }
                found.extend(first..=last);
            }
        }
    }
    Ok(found)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn legacy() -> SysInfo {
    let has = |controller: &str, file: &str| {
        cgroup::legacy_root(controller).is_some_and(|root| root.join(file).try_exists().unwrap_or(false))
    };
    let cpuset = cgroup::legacy_root("cpuset");
    let list = |file: &str| cpuset.as_ref().map(|root| text(&root.join(file))).unwrap_or_default();
    // Since Linux 5.0 the weights are those of the BFQ scheduler, whose files
    // the root does not have; these it has.
    let bfq = has("blkio", "blkio.bfq.io_service_bytes");
    SysInfo {
        memory_limit: cgroup::legacy_root("memory").is_some(),
        swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        memory_swappiness: has("memory", "memory.swappiness"),
        pids_limit: cgroup::legacy_root("pids").is_some(),
        cpu_shares: has("cpu", "cpu.shares"),
        cpu_cfs: has("cpu", "cpu.cfs_quota_us"),
        cpuset: cpuset.is_some(),
        cpus: list("cpuset.cpus"),
        mems: list("cpuset.mems"),
        blkio_weight: bfq || has("blkio", "blkio.weight"),
        blkio_weight_device: bfq || has("blkio", "blkio.weight_device"),
        blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
        ..SysInfo::default()
    }
}

fn unified(root: &Path) -> SysInfo {
    let controllers = text(&root.join("cgroup.controllers"));
    let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
    SysInfo {
        memory_limit: has("memory"),
        swap_limit: has("memory") && unified_counts_swap(root),
        memory_reservation: has("memory"),
        pids_limit: has("pids"),
        cpu_shares: has("cpu"),
        cpu_cfs: has("cpu"),
        cpuset: has("cpuset"),
        cpus: text(&root.join("cpuset.cpus.effective")),
        mems: text(&root.join("cpuset.mems.effective")),
        blkio_weight: has("io"),
        blkio_weight_device: has("io"),
        blkio_throttle: has("io"),
        ..SysInfo::default()
    }
}

/// Only groups below the root have the file. Where there is none yet, the
/// kernel is taken to count: hako-runtime looks again.
fn unified_counts_swap(root: &Path) -> bool {
    let mut groups = fs::read_dir(root).into_iter().flatten().flatten().map(|group| group.path());
    !groups.any(|group| group.join("memory.max").exists() && !group.join("memory.swap.max").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_cgroups_is_warned_of() {
        let none = SysInfo::default();
        assert_eq!(none.warnings(true).len(), 12);
        let old = none.warnings(false);
        assert!(old.contains(&"WARNING: No oom kill disable support".to_owned()), "{old:?}");
        assert!(old.contains(&"WARNING: No blkio throttle.read_iops_device support".to_owned()), "{old:?}");
        assert!(!old.iter().any(|text| text.contains("io.weight")), "{old:?}");
    }

    #[test]
    fn lists() {
        assert_eq!(numbers("0-2,5").unwrap(), BTreeSet::from([0, 1, 2, 5]));
        assert_eq!(numbers("").unwrap(), BTreeSet::new());
        for bad in ["x", "1-", "-1", "3-1", "1,,2", "0-999999999"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
        let info = SysInfo { cpus: "0-1".into(), mems: "0".into(), ..SysInfo::default() };
        assert!(info.check_cpus("1").is_ok());
        let text = "Requested CPUs are not available - requested 7, available: 0-1";
        assert_eq!(info.check_cpus("7").unwrap_err().message, text);
        let text = "Invalid value 1- for cpuset cpus: invalid format: 1-";
        assert_eq!(info.check_cpus("1-").unwrap_err().message, text);
    }
}
