//! From containerd's metrics, as the shim gives them, to Docker's figures.

use crate::{Engine, containers::Container, networks};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hako_api::{
    time,
    types::{
        Stats,
        stats::{BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, PidsStats, ThrottlingData, VmStats},
    },
};
use hako_model::{Error, ErrorKind, KernelFigures, Result, VmFigures};
use hako_task::{
    extra::FiguresReply,
    protos::{cgroups::metrics as v1, cgroups_v2::metrics as v2, protobuf::Message},
};
use std::collections::BTreeMap;

/// A reading; zeros where the container does not run.
///
/// # Errors
/// The shim's, or figures that are none.
pub async fn take(engine: &Engine, container: &Container) -> Result<Stats> {
    let view = container.view();
    let Some(live) = view.live.clone() else { return Ok(zeros()) };
    match live.figures().await {
        Ok(reply) => {
            let networks = networks::counters(engine, &view.record).await;
            Ok(Stats { networks, ..render(&reply)? })
        }
        // It has ended since.
        Err(err) if matches!(err.kind, ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Unavailable) => {
            Ok(zeros())
        }
        Err(err) => Err(err),
    }
}

fn zeros() -> Stats {
    Stats { read: time::ZERO.to_owned(), preread: time::ZERO.to_owned(), ..Stats::default() }
}

fn render(reply: &FiguresReply) -> Result<Stats> {
    let bad = |err: String| Error::internal(format!("figures {}: {err}", reply.type_url));
    let bytes = STANDARD.decode(&reply.metrics).map_err(|err| bad(err.to_string()))?;
    let mut stats = match reply.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            of_v1(&v1::Metrics::parse_from_bytes(&bytes).map_err(|err| bad(err.to_string()))?)
        }
        "io.containerd.cgroups.v2.Metrics" => {
            of_v2(&v2::Metrics::parse_from_bytes(&bytes).map_err(|err| bad(err.to_string()))?)
        }
        _ => return Err(bad("of an unknown type".to_owned())),
    };
    of_kernel(&mut stats, reply.kernel);
    stats.read = time::now();
    stats.preread = time::ZERO.to_owned();
    stats.vm_stats = reply.vm.map(of_vm);
    Ok(stats)
}

fn of_kernel(stats: &mut Stats, kernel: KernelFigures) {
    stats.cpu_stats.system_cpu_usage = kernel.cpu_ns;
    stats.cpu_stats.online_cpus = kernel.cpus;
    // No limit is the largest number there is.
    if stats.memory_stats.limit > kernel.memory {
        stats.memory_stats.limit = kernel.memory;
    }
}

fn of_vm(vm: VmFigures) -> VmStats {
    VmStats {
        cpu_usage: CpuUsage {
            total_usage: vm.user_ns.saturating_add(vm.system_ns),
            usage_in_kernelmode: vm.system_ns,
            usage_in_usermode: vm.user_ns,
            ..CpuUsage::default()
        },
        memory_resident: vm.resident,
        memory_anonymous: vm.anonymous,
        guest_memory: vm.guest_memory,
    }
}

fn of_v1(metrics: &v1::Metrics) -> Stats {
    let (usage, throttling) = (&metrics.cpu.usage, &metrics.cpu.throttling);
    let entries = |entries: &[v1::BlkIOEntry]| {
        let one = |e: &v1::BlkIOEntry| BlkioEntry { major: e.major, minor: e.minor, op: e.op.clone(), value: e.value };
        Some(entries.iter().map(one).collect::<Vec<_>>())
    };
    let blkio = metrics.blkio.as_ref().map(|io| BlkioStats {
        io_service_bytes_recursive: entries(&io.io_service_bytes_recursive),
        io_serviced_recursive: entries(&io.io_serviced_recursive),
        io_queue_recursive: entries(&io.io_queued_recursive),
        io_service_time_recursive: entries(&io.io_service_time_recursive),
        io_wait_time_recursive: entries(&io.io_wait_time_recursive),
        io_merged_recursive: entries(&io.io_merged_recursive),
        io_time_recursive: entries(&io.io_time_recursive),
        sectors_recursive: entries(&io.sectors_recursive),
    });
    Stats {
        pids_stats: PidsStats { current: metrics.pids.current, limit: metrics.pids.limit },
        blkio_stats: blkio.unwrap_or_default(),
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: usage.total,
                percpu_usage: usage.per_cpu.clone(),
                usage_in_kernelmode: usage.kernel,
                usage_in_usermode: usage.user,
            },
            throttling_data: ThrottlingData {
                periods: throttling.periods,
                throttled_periods: throttling.throttled_periods,
                throttled_time: throttling.throttled_time,
            },
            ..CpuStats::default()
        },
        memory_stats: metrics.memory.as_ref().map(memory_v1).unwrap_or_default(),
        ..Stats::default()
    }
}

fn named<const N: usize>(figures: [(&str, u64); N]) -> BTreeMap<String, u64> {
    figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect()
}

fn memory_v1(m: &v1::MemoryStat) -> MemoryStats {
    MemoryStats {
        usage: m.usage.usage,
        max_usage: m.usage.max,
        failcnt: m.usage.failcnt,
        limit: m.usage.limit,
        stats: named([
            ("cache", m.cache),
            ("rss", m.rss),
            ("rss_huge", m.rss_huge),
            ("mapped_file", m.mapped_file),
            ("dirty", m.dirty),
            ("writeback", m.writeback),
            ("pgpgin", m.pg_pg_in),
            ("pgpgout", m.pg_pg_out),
            ("pgfault", m.pg_fault),
            ("pgmajfault", m.pg_maj_fault),
            ("inactive_anon", m.inactive_anon),
            ("active_anon", m.active_anon),
            ("inactive_file", m.inactive_file),
            ("active_file", m.active_file),
            ("unevictable", m.unevictable),
            ("hierarchical_memory_limit", m.hierarchical_memory_limit),
            ("hierarchical_memsw_limit", m.hierarchical_swap_limit),
            ("total_cache", m.total_cache),
            ("total_rss", m.total_rss),
            ("total_rss_huge", m.total_rss_huge),
            ("total_mapped_file", m.total_mapped_file),
            ("total_dirty", m.total_dirty),
            ("total_writeback", m.total_writeback),
            ("total_pgpgin", m.total_pg_pg_in),
            ("total_pgpgout", m.total_pg_pg_out),
            ("total_pgfault", m.total_pg_fault),
            ("total_pgmajfault", m.total_pg_maj_fault),
            ("total_inactive_anon", m.total_inactive_anon),
            ("total_active_anon", m.total_active_anon),
            ("total_inactive_file", m.total_inactive_file),
            ("total_active_file", m.total_active_file),
            ("total_unevictable", m.total_unevictable),
        ]),
    }
}

fn of_v2(metrics: &v2::Metrics) -> Stats {
    let cpu = &metrics.cpu;
    let ns = |usec: u64| usec.saturating_mul(1000);
    let both = |e: &v2::IOEntry| {
        let one = |op: &str, value| BlkioEntry { major: e.major, minor: e.minor, op: op.to_owned(), value };
        [one("read", e.rbytes), one("write", e.wbytes)]
    };
    let io: Vec<BlkioEntry> = metrics.io.usage.iter().flat_map(both).collect();
    Stats {
        pids_stats: PidsStats { current: metrics.pids.current, limit: metrics.pids.limit },
        blkio_stats: BlkioStats { io_service_bytes_recursive: (!io.is_empty()).then_some(io), ..BlkioStats::default() },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: ns(cpu.usage_usec),
                usage_in_kernelmode: ns(cpu.system_usec),
                usage_in_usermode: ns(cpu.user_usec),
                ..CpuUsage::default()
            },
            throttling_data: ThrottlingData {
                periods: cpu.nr_periods,
                throttled_periods: cpu.nr_throttled,
                throttled_time: ns(cpu.throttled_usec),
            },
            ..CpuStats::default()
        },
        memory_stats: MemoryStats {
            failcnt: metrics.memory_events.oom,
            ..metrics.memory.as_ref().map(memory_v2).unwrap_or_default()
        },
        ..Stats::default()
    }
}

fn memory_v2(m: &v2::MemoryStat) -> MemoryStats {
    MemoryStats {
        usage: m.usage,
        limit: m.usage_limit,
        stats: named([
            ("anon", m.anon),
            ("file", m.file),
            ("kernel_stack", m.kernel_stack),
            ("slab", m.slab),
            ("sock", m.sock),
            ("shmem", m.shmem),
            ("file_mapped", m.file_mapped),
            ("file_dirty", m.file_dirty),
            ("file_writeback", m.file_writeback),
            ("anon_thp", m.anon_thp),
            ("inactive_anon", m.inactive_anon),
            ("active_anon", m.active_anon),
            ("inactive_file", m.inactive_file),
            ("active_file", m.active_file),
            ("unevictable", m.unevictable),
            ("slab_reclaimable", m.slab_reclaimable),
            ("slab_unreclaimable", m.slab_unreclaimable),
            ("pgfault", m.pgfault),
            ("pgmajfault", m.pgmajfault),
            ("workingset_refault", m.workingset_refault),
            ("workingset_activate", m.workingset_activate),
            ("workingset_nodereclaim", m.workingset_nodereclaim),
            ("pgrefill", m.pgrefill),
            ("pgscan", m.pgscan),
            ("pgsteal", m.pgsteal),
            ("pgactivate", m.pgactivate),
            ("pgdeactivate", m.pgdeactivate),
            ("pglazyfree", m.pglazyfree),
            ("pglazyfreed", m.pglazyfreed),
            ("thp_fault_alloc", m.thp_fault_alloc),
            ("thp_collapse_alloc", m.thp_collapse_alloc),
        ]),
        ..MemoryStats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_task::protos::protobuf::MessageField;

    fn reply(type_url: &str, metrics: Vec<u8>) -> FiguresReply {
        let kernel = KernelFigures { cpu_ns: 900, cpus: 2, memory: 1 << 30 };
        FiguresReply { type_url: type_url.to_owned(), metrics: STANDARD.encode(metrics), kernel, vm: None }
    }

    #[test]
    fn both_versions_and_no_limit() {
        let mut memory = v2::MemoryStat::new();
        (memory.usage, memory.usage_limit, memory.inactive_file) = (7, u64::MAX, 3);
        let mut metrics = v2::Metrics::new();
        metrics.memory = MessageField::some(memory);
        let stats = render(&reply("io.containerd.cgroups.v2.Metrics", metrics.write_to_bytes().unwrap())).unwrap();
        assert_eq!((stats.memory_stats.usage, stats.memory_stats.limit), (7, 1 << 30));
        assert_eq!(stats.memory_stats.stats["inactive_file"], 3);
        assert_eq!(stats.blkio_stats.io_service_bytes_recursive, None);
        let mut metrics = v1::Metrics::new();
        metrics.blkio = MessageField::some(v1::BlkIOStat::new());
        let stats = render(&reply("io.containerd.cgroups.v1.Metrics", metrics.write_to_bytes().unwrap())).unwrap();
        assert_eq!(stats.blkio_stats.io_serviced_recursive, Some(Vec::new()));
        assert_eq!((stats.cpu_stats.system_cpu_usage, stats.cpu_stats.online_cpus), (900, 2));
    }

    #[test]
    fn what_is_no_figures_is_an_error() {
        assert!(render(&reply("io.containerd.cgroups.v2.Metrics", vec![0xff; 9])).is_err());
        assert!(render(&reply("x", Vec::new())).is_err());
    }
}
