//! Facts of processes and of this kernel, from `/proc`.

use hako_model::{KernelFigures, MOST_COMMAND, ProcessFacts};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

/// The clock tick of `/proc` is a hundredth of a second: fixed in Linux's ABI.
pub const TICK_NS: u64 = 10_000_000;

/// The facts of one process. Its command line lies in its own memory, which
/// it can make slow to read: not to be called where nothing may block.
///
/// # Errors
/// The kernel's: a process that has ended is not found.
pub fn process(pid: i32) -> io::Result<ProcessFacts> {
    let dir = Path::new("/proc").join(pid.to_string());
    let mut facts = parse_stat(&read_text(&dir.join("stat"))?).ok_or(io::ErrorKind::InvalidData)?;
    parse_status(&read_text(&dir.join("status"))?, &mut facts);
    let wchan = read_text(&dir.join("wchan")).unwrap_or_default();
    facts.wchan = if wchan == "0" { String::new() } else { wchan };
    facts.args = command_line(&dir.join("cmdline")).unwrap_or_default();
    Ok(facts)
}

/// CPU time (user's and kernel's, in nanoseconds) and resident memory (all of
/// it, and what no file backs, in bytes) of the process whose `stat` and
/// `status` these are.
#[must_use]
pub fn usage(stat: &str, status: &str) -> Option<([u64; 2], [u64; 2])> {
    let facts = parse_stat(stat)?;
    let time = |ticks: u64| ticks.saturating_mul(TICK_NS);
    let memory = ["VmRSS", "RssAnon"].map(|name| kib(status, name).unwrap_or(0));
    Some(([time(facts.utime), time(facts.stime)], memory))
}

/// How long that thread of a process that had to wait the most for a CPU has
/// waited for one, when it was ready to run (`schedstat`, the kernel's
/// `Documentation/scheduler/sched-stats.rst`). A wait counts once it is over.
/// Zero for a process that has ended, and where the kernel does not count it.
#[must_use]
pub fn run_delay(pid: i32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let delays = threads.filter_map(|thread| {
        let stat = read_text(&thread.path().join("schedstat")).ok()?;
        stat.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(delays.max().unwrap_or(0))
}

/// What this kernel's CPUs have done, how many there are, and its memory.
#[must_use]
pub fn kernel() -> KernelFigures {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    KernelFigures {
        cpu_ns: cpu_ticks(&stat).saturating_mul(TICK_NS),
        cpus: u32::try_from(stat.lines().filter(|line| is_one_cpu(line)).count()).unwrap_or(1).max(1),
        memory: kib(&memory, "MemTotal").unwrap_or(0),
    }
}

/// Time since the boot, in ticks.
#[must_use]
pub fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let (seconds, hundredths) = text.split(' ').next().and_then(|first| first.split_once('.')).unwrap_or(("0", "0"));
    seconds.parse::<u64>().unwrap_or(0) * 100 + hundredths.parse::<u64>().unwrap_or(0)
}

fn is_one_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// User, nice, system, idle, iowait, irq, softirq and steal: what follows is
/// guests' time, which user's has already.
fn cpu_ticks(stat: &str) -> u64 {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let fields = all.unwrap_or_default().split_ascii_whitespace().take(8);
    fields.map(|field| field.parse::<u64>().unwrap_or(0)).fold(0, u64::saturating_add)
}

/// The bytes of `Name:   123 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A process chooses its own name, which need not be text.
fn read_text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The words joined by spaces, as `ps` shows them.
fn command_line(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_COMMAND as u64).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    Ok(text.chars().map(|c| if c == '\0' { ' ' } else { c }).collect())
}

/// `/proc/<pid>/stat`. The name in parentheses may have any characters, also parentheses.
fn parse_stat(text: &str) -> Option<ProcessFacts> {
    let (pid, rest) = text.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The manual counts from 1, and the state is its third.
    let field = |number: usize| fields.get(number - 3).copied();
    fn number<T: std::str::FromStr>(field: Option<&str>) -> Option<T> {
        field?.parse().ok()
    }
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    Some(ProcessFacts {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state: field(3)?.chars().next()?,
        ppid: number(field(4))?,
        pgid: number(field(5))?,
        sid: number(field(6))?,
        tty: number(field(7))?,
        tpgid: number(field(8))?,
        flags: number(field(9))?,
        minflt: number(field(10))?,
        majflt: number(field(12))?,
        utime: number(field(14))?,
        stime: number(field(15))?,
        priority: number(field(18))?,
        nice: number(field(19))?,
        threads: number(field(20))?,
        start: number(field(22))?,
        vsize: number(field(23))?,
        rss: number::<u64>(field(24)).unwrap_or(0).saturating_mul(page),
        processor: number(field(39)).unwrap_or(0),
        rt_priority: number(field(40)).unwrap_or(0),
        policy: number(field(41)).unwrap_or(0),
        ..ProcessFacts::default()
    })
}

/// What `stat` lacks: users, groups, locked memory.
fn parse_status(text: &str, facts: &mut ProcessFacts) {
    let three = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        let mut ids = line.split_ascii_whitespace().map(|id| id.parse().unwrap_or(0));
        std::array::from_fn(|_| ids.next().unwrap_or(0))
    };
    facts.uid = three("Uid");
    facts.gid = three("Gid");
    facts.locked = kib(text, "VmLck").unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) R (b) S 1 7 6 34816 7 4194560 86 0 2 0 150 50 0 0 20 -5 3 0 1234 4210688 250 \
                        18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_name_may_have_parentheses() {
        let facts = parse_stat(STAT).unwrap();
        assert_eq!((facts.pid, facts.comm.as_str(), facts.state, facts.ppid), (7, "a) R (b", 'S', 1));
        assert_eq!((facts.utime, facts.stime, facts.nice, facts.threads, facts.start), (150, 50, -5, 3, 1234));
        assert_eq!((facts.tty, facts.majflt, facts.processor), (34816, 2, 1));
        assert!(parse_stat("7 (a) S").is_none());
    }

    #[test]
    fn users_and_memory() {
        let mut facts = ProcessFacts::default();
        let status =
            "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nVmLck:\t       8 kB\nVmRSS:\t 4 kB\nRssAnon:\t 1 kB\n";
        parse_status(status, &mut facts);
        assert_eq!((facts.uid, facts.gid, facts.locked), ([1, 2, 3], [5, 6, 7], 8192));
        assert_eq!(usage(STAT, status), Some(([1_500_000_000, 500_000_000], [4096, 1024])));
    }

    #[test]
    fn cpu_time_is_everything_once() {
        let stat = "cpu  1 2 3 4 5 6 7 8 900 900\ncpu0 1 1 1\ncpu1 1 1 1\nintr 5\n";
        assert_eq!(cpu_ticks(stat), 36);
        assert_eq!(stat.lines().filter(|line| is_one_cpu(line)).count(), 2);
    }

    #[test]
    fn what_shares_a_cpu_is_delayed() {
        use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
        use nix::unistd::Pid;
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap()).unwrap()).unwrap();
        let busy = || std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut both = [busy(), busy()];
        let pids = both.each_ref().map(|child| i32::try_from(child.id()).unwrap());
        pids.iter().for_each(|pid| sched_setaffinity(Pid::from_raw(*pid), &one).unwrap());
        let begin = std::time::Instant::now();
        let delayed = || pids.iter().all(|pid| run_delay(*pid) > Duration::from_millis(20));
        while !delayed() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let seen = delayed();
        for child in &mut both {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(seen);
        assert_eq!(run_delay(i32::MAX), Duration::ZERO);
    }

    #[test]
    fn this_very_process() {
        let me = process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.rss > 0 && me.threads > 0 && me.start <= uptime(), "{me:?}");
        assert!(me.args.contains("hako"), "{me:?}");
        let kernel = kernel();
        assert!(kernel.cpu_ns > 0 && kernel.cpus > 0 && kernel.memory > 0, "{kernel:?}");
    }
}
