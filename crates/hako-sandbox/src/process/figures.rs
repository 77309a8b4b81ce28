//! Figures of a cgroup as containerd's metrics messages. What the kernel does
//! not tell stays zero, as containerd has it.

use crate::Figures;
use hako_model::{Error, Result};
use hako_os::cgroup::{Cgroup, read_keyed, read_number};
use hako_task::protos::{
    cgroups::metrics as v1,
    cgroups_v2::metrics as v2,
    protobuf::{Message, MessageField},
};
use std::{fs, path::Path};

/// The figures of the group and of this kernel.
pub(super) fn read(cgroup: &Cgroup) -> Result<Figures> {
    // First, as dockerd does: a percentage is rather too small than too large.
    let kernel = hako_os::proc::kernel();
    let (url, bytes) = if cgroup.is_unified() {
        ("io.containerd.cgroups.v2.Metrics", read_v2(cgroup).write_to_bytes())
    } else {
        ("io.containerd.cgroups.v1.Metrics", read_v1(cgroup).write_to_bytes())
    };
    let metrics = bytes.map_err(|err| Error::internal(format!("encode metrics: {err}")))?;
    Ok(Figures { type_url: url.to_owned(), metrics, kernel, vm: None })
}

/// A limit: `max` is the largest number.
fn limit(path: &Path) -> u64 {
    read_number(path).unwrap_or(u64::MAX)
}

fn number(path: &Path) -> u64 {
    read_number(path).unwrap_or(0)
}

fn read_v1(cgroup: &Cgroup) -> v1::Metrics {
    let mut metrics = v1::Metrics::new();
    if let Some(dir) = cgroup.dir("pids") {
        let mut pids = v1::PidsStat::new();
        pids.current = number(&dir.join("pids.current"));
        pids.limit = read_number(&dir.join("pids.max")).unwrap_or(0);
        metrics.pids = MessageField::some(pids);
    }
    metrics.cpu = MessageField::some(cpu_v1(cgroup));
    if let Some(dir) = cgroup.dir("memory") {
        metrics.memory = MessageField::some(memory_v1(dir));
        let keyed = read_keyed(&dir.join("memory.oom_control"));
        let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
        let mut oom = v1::MemoryOomControl::new();
        oom.oom_kill_disable = get("oom_kill_disable");
        oom.under_oom = get("under_oom");
        oom.oom_kill = get("oom_kill");
        metrics.memory_oom_control = MessageField::some(oom);
    }
    if let Some(dir) = cgroup.dir("blkio") {
        let mut blkio = v1::BlkIOStat::new();
        blkio.io_service_bytes_recursive = blkio_v1(dir, "bytes");
        blkio.io_serviced_recursive = blkio_v1(dir, "serviced");
        metrics.blkio = MessageField::some(blkio);
    }
    metrics
}

fn cpu_v1(cgroup: &Cgroup) -> v1::CPUStat {
    let mut cpu = v1::CPUStat::new();
    if let Some(dir) = cgroup.dir("cpuacct") {
        // Clock ticks of a hundredth of a second: fixed in Linux's ABI.
        const TICK_NS: u64 = 10_000_000;
        let ticks = read_keyed(&dir.join("cpuacct.stat"));
        let time = |key: &str| ticks.get(key).copied().unwrap_or(0).saturating_mul(TICK_NS);
        let mut usage = v1::CPUUsage::new();
        usage.total = number(&dir.join("cpuacct.usage"));
        usage.kernel = time("system");
        usage.user = time("user");
        let each = fs::read_to_string(dir.join("cpuacct.usage_percpu")).unwrap_or_default();
        usage.per_cpu = each.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        cpu.usage = MessageField::some(usage);
    }
    if let Some(dir) = cgroup.dir("cpu") {
        let keyed = read_keyed(&dir.join("cpu.stat"));
        let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
        let mut throttle = v1::Throttle::new();
        throttle.periods = get("nr_periods");
        throttle.throttled_periods = get("nr_throttled");
        throttle.throttled_time = get("throttled_time");
        cpu.throttling = MessageField::some(throttle);
    }
    cpu
}

fn memory_v1(dir: &Path) -> v1::MemoryStat {
    let entry = |kind: &str| {
        let file = |suffix: &str| dir.join(format!("memory.{kind}{suffix}"));
        let mut entry = v1::MemoryEntry::new();
        entry.limit = number(&file("limit_in_bytes"));
        entry.usage = number(&file("usage_in_bytes"));
        entry.max = number(&file("max_usage_in_bytes"));
        entry.failcnt = number(&file("failcnt"));
        MessageField::some(entry)
    };
    let keyed = read_keyed(&dir.join("memory.stat"));
    let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
    let mut memory = v1::MemoryStat::new();
    memory.cache = get("cache");
    memory.rss = get("rss");
    memory.rss_huge = get("rss_huge");
    memory.mapped_file = get("mapped_file");
    memory.dirty = get("dirty");
    memory.writeback = get("writeback");
    memory.pg_pg_in = get("pgpgin");
    memory.pg_pg_out = get("pgpgout");
    memory.pg_fault = get("pgfault");
    memory.pg_maj_fault = get("pgmajfault");
    memory.inactive_anon = get("inactive_anon");
    memory.active_anon = get("active_anon");
    memory.inactive_file = get("inactive_file");
    memory.active_file = get("active_file");
    memory.unevictable = get("unevictable");
    memory.hierarchical_memory_limit = get("hierarchical_memory_limit");
    memory.hierarchical_swap_limit = get("hierarchical_memsw_limit");
    memory.total_cache = get("total_cache");
    memory.total_rss = get("total_rss");
    memory.total_rss_huge = get("total_rss_huge");
    memory.total_mapped_file = get("total_mapped_file");
    memory.total_dirty = get("total_dirty");
    memory.total_writeback = get("total_writeback");
    memory.total_pg_pg_in = get("total_pgpgin");
    memory.total_pg_pg_out = get("total_pgpgout");
    memory.total_pg_fault = get("total_pgfault");
    memory.total_pg_maj_fault = get("total_pgmajfault");
    memory.total_inactive_anon = get("total_inactive_anon");
    memory.total_active_anon = get("total_active_anon");
    memory.total_inactive_file = get("total_inactive_file");
    memory.total_active_file = get("total_active_file");
    memory.total_unevictable = get("total_unevictable");
    memory.usage = entry("");
    memory.swap = entry("memsw.");
    memory.kernel = entry("kmem.");
    memory.kernel_tcp = entry("kmem.tcp.");
    memory
}

/// Lines of `8:0 Read 4096`; the last, `Total 4096`, has no device.
fn blkio_v1(dir: &Path, what: &str) -> Vec<v1::BlkIOEntry> {
    let file = match what {
        "bytes" => "blkio.throttle.io_service_bytes_recursive",
        _ => "blkio.throttle.io_serviced_recursive",
    };
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let (major, minor) = fields.next()?.split_once(':')?;
        let mut entry = v1::BlkIOEntry::new();
        entry.major = major.parse().ok()?;
        entry.minor = minor.parse().ok()?;
        entry.op = fields.next()?.to_owned();
        entry.value = fields.next()?.parse().ok()?;
        Some(entry)
    };
    text.lines().filter_map(entry).collect()
}

fn read_v2(cgroup: &Cgroup) -> v2::Metrics {
    let mut metrics = v2::Metrics::new();
    let Some(dir) = cgroup.dir("memory") else { return metrics };
    let mut pids = v2::PidsStat::new();
    pids.current = number(&dir.join("pids.current"));
    pids.limit = limit(&dir.join("pids.max"));
    metrics.pids = MessageField::some(pids);

    let keyed = read_keyed(&dir.join("cpu.stat"));
    let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
    let mut cpu = v2::CPUStat::new();
    cpu.usage_usec = get("usage_usec");
    cpu.user_usec = get("user_usec");
    cpu.system_usec = get("system_usec");
    cpu.nr_periods = get("nr_periods");
    cpu.nr_throttled = get("nr_throttled");
    cpu.throttled_usec = get("throttled_usec");
    metrics.cpu = MessageField::some(cpu);

    metrics.memory = MessageField::some(memory_v2(dir));
    let keyed = read_keyed(&dir.join("memory.events"));
    let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
    let mut events = v2::MemoryEvents::new();
    events.low = get("low");
    events.high = get("high");
    events.max = get("max");
    events.oom = get("oom");
    events.oom_kill = get("oom_kill");
    metrics.memory_events = MessageField::some(events);

    let mut io = v2::IOStat::new();
    io.usage = io_v2(&fs::read_to_string(dir.join("io.stat")).unwrap_or_default());
    metrics.io = MessageField::some(io);
    metrics
}

fn memory_v2(dir: &Path) -> v2::MemoryStat {
    let keyed = read_keyed(&dir.join("memory.stat"));
    let get = |key: &str| keyed.get(key).copied().unwrap_or(0);
    let mut memory = v2::MemoryStat::new();
    memory.anon = get("anon");
    memory.file = get("file");
    memory.kernel_stack = get("kernel_stack");
    memory.slab = get("slab");
    memory.sock = get("sock");
    memory.shmem = get("shmem");
    memory.file_mapped = get("file_mapped");
    memory.file_dirty = get("file_dirty");
    memory.file_writeback = get("file_writeback");
    memory.anon_thp = get("anon_thp");
    memory.inactive_anon = get("inactive_anon");
    memory.active_anon = get("active_anon");
    memory.inactive_file = get("inactive_file");
    memory.active_file = get("active_file");
    memory.unevictable = get("unevictable");
    memory.slab_reclaimable = get("slab_reclaimable");
    memory.slab_unreclaimable = get("slab_unreclaimable");
    memory.pgfault = get("pgfault");
    memory.pgmajfault = get("pgmajfault");
    memory.workingset_refault = get("workingset_refault");
    memory.workingset_activate = get("workingset_activate");
    memory.workingset_nodereclaim = get("workingset_nodereclaim");
    memory.pgrefill = get("pgrefill");
    memory.pgscan = get("pgscan");
    memory.pgsteal = get("pgsteal");
    memory.pgactivate = get("pgactivate");
    memory.pgdeactivate = get("pgdeactivate");
    memory.pglazyfree = get("pglazyfree");
    memory.pglazyfreed = get("pglazyfreed");
    memory.thp_fault_alloc = get("thp_fault_alloc");
    memory.thp_collapse_alloc = get("thp_collapse_alloc");
    memory.usage = number(&dir.join("memory.current"));
    memory.usage_limit = limit(&dir.join("memory.max"));
    memory.max_usage = number(&dir.join("memory.peak"));
    memory.swap_usage = number(&dir.join("memory.swap.current"));
    memory.swap_limit = limit(&dir.join("memory.swap.max"));
    memory
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn io_v2(text: &str) -> Vec<v2::IOEntry> {
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let (major, minor) = fields.next()?.split_once(':')?;
        let mut entry = v2::IOEntry::new();
        entry.major = major.parse().ok()?;
        entry.minor = minor.parse().ok()?;
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn io_stat_lines_are_read() {
        let entries = super::io_v2("8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0\nbroken\n");
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].major, entries[0].rbytes, entries[0].wios), (8, 4096, 3));
    }
}
