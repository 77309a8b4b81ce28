//! What the engine knows of its host, read once.

use crate::sysinfo::SysInfo;
use hako_model::policy;
use hako_platform::tables;
use std::fs;

/// The facts.
#[derive(Debug, Clone, Default)]
pub struct HostInfo {
    /// `uname -r`.
    pub kernel: String,
    /// What its processors are, where that has a name: `v3` of amd64.
    pub variant: String,
    /// The first two numbers of the kernel.
    pub kernel_version: (u32, u32),
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// The host's name.
    pub hostname: String,
    /// 1 (also hybrid) or 2.
    pub cgroup_version: u8,
    /// Processors online.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// The bounding set: all that a container can be given, as `CAP_…`.
    pub bounding: Vec<String>,
    /// What its cgroups can limit.
    pub sys: SysInfo,
}

impl HostInfo {
    /// Reads them; what cannot be read is empty.
    #[must_use]
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let kernel = text("/proc/sys/kernel/osrelease");
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        Self {
            kernel_version: version_of(&kernel),
            kernel,
            variant: variant(policy::native_arch(), &fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            os_name: field("PRETTY_NAME"),
            os_version: field("VERSION_ID"),
            hostname: text("/proc/sys/kernel/hostname"),
            cgroup_version: if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) { 2 } else { 1 },
            cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            bounding: bounding(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
            sys: SysInfo::read(),
        }
    }
}

fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// By the features that the first processor has; all others are as it is.
fn variant(architecture: &str, cpuinfo: &str) -> String {
    if architecture != "amd64" {
        // Of arm64 there is one, and `Platform` knows it.
        return String::new();
    }
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'));
    let flags: Vec<String> = flags.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    tables().level(&flags).to_owned()
}

fn memory(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: i64 = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0);
    kib * 1024
}

fn bounding(status: &str) -> Vec<String> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    let held = |(bit, _): &(usize, &&str)| mask & (1 << bit) != 0;
    CAPABILITIES.iter().enumerate().filter(held).map(|(_, name)| (*name).to_owned()).collect()
}

/// Every capability by its number.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files() {
        assert_eq!(memory("MemTotal:       16 kB\nMemFree: 1 kB"), 16384);
        assert_eq!(bounding("CapBnd:\t0000000000000003\n"), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
        assert_eq!(version_of("6.12.4-amd64"), (6, 12));
        let flags = "processor: 0\nflags\t\t: fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3\nflags: avx2\n";
        assert_eq!((variant("amd64", flags).as_str(), variant("arm64", flags).as_str()), ("v2", ""));
        assert_eq!(variant("amd64", ""), "");
    }
}
