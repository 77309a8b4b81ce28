//! The columns of `ps`, by procps's names and titles.

use chrono::{DateTime, Datelike, Local, TimeDelta};
use hako_model::{Error, ProcessFacts, Result};
use std::{collections::HashMap, fs};

/// Ticks in a second.
const HZ: u64 = 100;
const PAGE: u64 = 4096;
/// procps's width of users' and groups' names.
const NAME_WIDTH: usize = 8;

/// One column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: String,
    pub(super) what: What,
}

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Pid,
    Ppid,
    Pgid,
    Sid,
    Tpgid,
    Uid(usize),
    User(usize),
    Gid(usize),
    Group(usize),
    Usage,
    UsageWhole,
    MemoryShare,
    Vsz,
    Rss,
    Pages,
    Tty,
    State,
    Stat,
    StartShort,
    StartLong,
    StartFull,
    BsdStart,
    Elapsed,
    ElapsedSeconds,
    Time,
    TimeSeconds,
    BsdTime,
    Nice,
    Priority,
    PriorityUp,
    PriorityOld,
    RealTime,
    Class,
    Processor,
    Threads,
    MinorFaults,
    MajorFaults,
    Flags,
    Address,
    Wchan,
    Comm,
    Args,
}

/// Names, title, content. `uid_name` is the UID of `-f`, which is a name.
const COLUMNS: &[(&[&str], &str, What)] = &[
    (&["pid", "tgid"], "PID", What::Pid),
    (&["ppid"], "PPID", What::Ppid),
    (&["pgid"], "PGID", What::Pgid),
    (&["pgrp"], "PGRP", What::Pgid),
    (&["sid"], "SID", What::Sid),
    (&["sess", "session"], "SESS", What::Sid),
    (&["tpgid"], "TPGID", What::Tpgid),
    (&["uid_name"], "UID", What::User(1)),
    (&["uid"], "UID", What::Uid(1)),
    (&["euid"], "EUID", What::Uid(1)),
    (&["ruid"], "RUID", What::Uid(0)),
    (&["suid", "svuid"], "SUID", What::Uid(2)),
    (&["user", "uname"], "USER", What::User(1)),
    (&["euser"], "EUSER", What::User(1)),
    (&["ruser"], "RUSER", What::User(0)),
    (&["suser", "svuser"], "SUSER", What::User(2)),
    (&["gid"], "GID", What::Gid(1)),
    (&["egid"], "EGID", What::Gid(1)),
    (&["rgid"], "RGID", What::Gid(0)),
    (&["sgid", "svgid"], "SGID", What::Gid(2)),
    (&["group"], "GROUP", What::Group(1)),
    (&["egroup"], "EGROUP", What::Group(1)),
    (&["rgroup"], "RGROUP", What::Group(0)),
    (&["sgroup"], "SGROUP", What::Group(2)),
    (&["%cpu", "pcpu"], "%CPU", What::Usage),
    (&["c"], "C", What::UsageWhole),
    (&["%mem", "pmem"], "%MEM", What::MemoryShare),
    (&["vsz", "vsize"], "VSZ", What::Vsz),
    (&["rss", "rssize"], "RSS", What::Rss),
    (&["rsz"], "RSZ", What::Rss),
    (&["sz"], "SZ", What::Pages),
    (&["tname"], "TTY", What::Tty),
    (&["tt", "tty"], "TT", What::Tty),
    (&["s", "state"], "S", What::State),
    (&["stat"], "STAT", What::Stat),
    (&["stime"], "STIME", What::StartShort),
    (&["start_time"], "START", What::StartShort),
    (&["bsdstart"], "START", What::BsdStart),
    (&["start"], "STARTED", What::StartLong),
    (&["lstart"], "STARTED", What::StartFull),
    (&["etime"], "ELAPSED", What::Elapsed),
    (&["etimes"], "ELAPSED", What::ElapsedSeconds),
    (&["time", "cputime"], "TIME", What::Time),
    (&["times", "cputimes"], "TIME", What::TimeSeconds),
    (&["bsdtime"], "TIME", What::BsdTime),
    (&["ni", "nice"], "NI", What::Nice),
    (&["priority"], "PRI", What::Priority),
    (&["pri"], "PRI", What::PriorityUp),
    (&["opri"], "PRI", What::PriorityOld),
    (&["rtprio"], "RTPRIO", What::RealTime),
    (&["cls", "class"], "CLS", What::Class),
    (&["policy", "pol"], "POL", What::Class),
    (&["psr"], "PSR", What::Processor),
    (&["nlwp"], "NLWP", What::Threads),
    (&["thcount"], "THCNT", What::Threads),
    (&["min_flt", "minflt"], "MINFL", What::MinorFaults),
    (&["maj_flt", "majflt", "pagein"], "MAJFL", What::MajorFaults),
    (&["f", "flag", "flags"], "F", What::Flags),
    (&["addr"], "ADDR", What::Address),
    (&["wchan"], "WCHAN", What::Wchan),
    (&["comm", "ucomm", "fname"], "COMMAND", What::Comm),
    (&["ucmd"], "CMD", What::Comm),
    (&["args", "command"], "COMMAND", What::Args),
    (&["cmd"], "CMD", What::Args),
];

/// The column `name`, with procps's title or `title`.
///
/// # Errors
/// procps's words for a name that it does not know.
pub(super) fn find(name: &str, title: Option<&str>) -> Result<Column> {
    let row = COLUMNS.iter().find(|(names, ..)| names.contains(&name));
    let (_, usual, what) =
        row.ok_or_else(|| Error::invalid(format!("ps: error: unknown user-defined format specifier \"{name}\"")))?;
    Ok(Column { title: title.unwrap_or(usual).to_owned(), what: *what })
}

/// What is needed to show a process, beside the process.
pub(super) struct Facts {
    now: DateTime<Local>,
    uptime: u64,
    memory: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Facts {
    pub(super) fn new(uptime: u64, memory: u64) -> Self {
        // As with dockerd the names are this host's, whose `ps` it calls.
        let names = |path: &str| names(&fs::read_to_string(path).unwrap_or_default());
        Self { now: Local::now(), uptime, memory, users: names("/etc/passwd"), groups: names("/etc/group") }
    }

    /// The text of one cell.
    pub(super) fn show(&self, what: What, p: &ProcessFacts) -> String {
        match what {
            What::Pid => p.pid.to_string(),
            What::Ppid => p.ppid.to_string(),
            What::Pgid => p.pgid.to_string(),
            What::Sid => p.sid.to_string(),
            What::Tpgid => p.tpgid.to_string(),
            What::Uid(which) => p.uid[which].to_string(),
            What::User(which) => name(&self.users, p.uid[which]),
            What::Gid(which) => p.gid[which].to_string(),
            What::Group(which) => name(&self.groups, p.gid[which]),
            What::Usage => percent(self.usage(p), 999),
            What::UsageWhole => (self.usage(p) / 10).min(99).to_string(),
            What::MemoryShare => {
                percent((p.rss.saturating_mul(1000)).checked_div(self.memory).unwrap_or(0).min(999), 999)
            }
            What::Vsz => (p.vsize / 1024).to_string(),
            What::Rss => (p.rss / 1024).to_string(),
            What::Pages => (p.vsize / PAGE).to_string(),
            What::Tty => tty(p.tty),
            What::State => p.state.to_string(),
            What::Stat => stat(p),
            What::StartShort => self.start_short(p),
            What::BsdStart => self.start_of_day(p, "%H:%M", "%b%d"),
            What::StartLong => self.start_of_day(p, "%H:%M:%S", "%b %d"),
            What::StartFull => self.started(p).format("%a %b %e %H:%M:%S %Y").to_string(),
            What::Elapsed => elapsed(self.age(p)),
            What::ElapsedSeconds => self.age(p).to_string(),
            What::Time => clock(cpu_seconds(p)),
            What::TimeSeconds => cpu_seconds(p).to_string(),
            What::BsdTime => format!("{}:{:02}", cpu_seconds(p) / 60, cpu_seconds(p) % 60),
            What::Nice => nice(p),
            What::Priority => p.priority.to_string(),
            What::PriorityUp => 39_i64.saturating_sub(p.priority).to_string(),
            What::PriorityOld => 60_i64.saturating_add(p.priority).to_string(),
            What::RealTime => {
                if p.policy == 1 || p.policy == 2 {
                    p.rt_priority.to_string()
                } else {
                    "-".to_owned()
                }
            }
            What::Class => class(p.policy).to_owned(),
            What::Processor => p.processor.to_string(),
            What::Threads => p.threads.to_string(),
            What::MinorFaults => p.minflt.to_string(),
            What::MajorFaults => p.majflt.to_string(),
            What::Flags => format!("{:o}", (p.flags >> 6) & 7),
            What::Address => "-".to_owned(),
            What::Wchan => {
                if p.wchan.is_empty() {
                    "-".to_owned()
                } else {
                    plain(&p.wchan)
                }
            }
            What::Comm => comm(p),
            What::Args => args(p),
        }
    }

    /// Seconds since the start.
    fn age(&self, p: &ProcessFacts) -> u64 {
        self.uptime.saturating_sub(p.start) / HZ
    }

    /// By this host's clock: a guest's is not asked.
    fn started(&self, p: &ProcessFacts) -> DateTime<Local> {
        let ago = i64::try_from(self.uptime.saturating_sub(p.start)).unwrap_or(0);
        TimeDelta::try_milliseconds(ago.saturating_mul(10))
            .and_then(|ago| self.now.checked_sub_signed(ago))
            .unwrap_or(self.now)
    }

    /// Thousandths of one CPU, over the process's life.
    fn usage(&self, p: &ProcessFacts) -> u64 {
        let ticks = p.utime.saturating_add(p.stime);
        ticks.saturating_mul(1000 / HZ).checked_div(self.age(p)).unwrap_or(0)
    }

    /// The time of this day, the day of this year, or the year.
    fn start_short(&self, p: &ProcessFacts) -> String {
        let start = self.started(p);
        let format = match () {
            () if start.year() != self.now.year() => "%Y",
            () if start.ordinal() != self.now.ordinal() => "%b%d",
            () => "%H:%M",
        };
        start.format(format).to_string()
    }

    fn start_of_day(&self, p: &ProcessFacts, within: &str, beyond: &str) -> String {
        let format = if self.age(p) > 24 * 3600 { beyond } else { within };
        self.started(p).format(format).to_string()
    }
}

/// Numbers and names of `/etc/passwd` or `/etc/group`.
fn names(text: &str) -> HashMap<u32, String> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first of several names for a number is the one that is shown.
    text.lines().rev().filter_map(line).collect()
}

fn name(names: &HashMap<u32, String>, id: u32) -> String {
    match names.get(&id) {
        Some(name) if name.chars().count() <= NAME_WIDTH => name.clone(),
        Some(name) => name.chars().take(NAME_WIDTH - 1).chain(['+']).collect(),
        None => id.to_string(),
    }
}

/// Tenths of a percent; a hundred and more have no room for a fraction.
fn percent(tenths: u64, most: u64) -> String {
    if tenths > most { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// The kernel's encoding of a device number, as far as terminals go.
fn tty(device: i32) -> String {
    let device = device.cast_unsigned();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ if device == 0 => "?".to_owned(),
        _ => format!("{major}:{minor}"),
    }
}

fn stat(p: &ProcessFacts) -> String {
    let mut text = String::from(p.state);
    let marks = [
        (p.nice < 0, '<'),
        (p.nice > 0, 'N'),
        (p.locked > 0, 'L'),
        (p.sid == p.pid, 's'),
        (p.threads > 1, 'l'),
        (p.pgid == p.tpgid, '+'),
    ];
    text.extend(marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark)));
    text
}

fn cpu_seconds(p: &ProcessFacts) -> u64 {
    p.utime.saturating_add(p.stime) / HZ
}

fn clock(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days}-{clock}") } else { clock }
}

fn elapsed(seconds: u64) -> String {
    if seconds < 3600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { clock(seconds) }
}

fn class(policy: u32) -> &'static str {
    ["TS", "FF", "RR", "B", "ISO", "IDL", "DLN"].get(policy as usize).copied().unwrap_or("?")
}

/// Real-time processes have none.
fn nice(p: &ProcessFacts) -> String {
    if matches!(p.policy, 0 | 3) { p.nice.to_string() } else { "-".to_owned() }
}

/// Without characters that would move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn comm(p: &ProcessFacts) -> String {
    let dead = if p.state == 'Z' { " <defunct>" } else { "" };
    format!("{}{dead}", plain(&p.comm))
}

fn args(p: &ProcessFacts) -> String {
    match p.args.as_str() {
        _ if p.state == 'Z' => format!("[{}] <defunct>", plain(&p.comm)),
        "" => format!("[{}]", plain(&p.comm)),
        args => plain(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            now: Local::now(),
            uptime: 360_000,
            memory: 1 << 30,
            users: names("root:x:0:0::/root:/bin/sh\na-long-name:x:7:7::/:/\ntoor:x:0:0::/:/\n"),
            groups: HashMap::new(),
        }
    }

    fn process() -> ProcessFacts {
        ProcessFacts {
            pid: 9,
            ppid: 1,
            pgid: 9,
            sid: 9,
            tty: 34816,
            tpgid: 9,
            state: 'S',
            uid: [0, 7, 1000],
            utime: 1500,
            stime: 500,
            start: 358_000,
            rss: 1 << 29,
            vsize: 8192,
            priority: 20,
            threads: 2,
            comm: "sh".to_owned(),
            args: "sh -c \u{1b}[2J".to_owned(),
            ..ProcessFacts::default()
        }
    }

    #[test]
    fn cells_are_procpss() {
        let show = |what| facts().show(what, &process());
        for (what, want) in [
            (What::User(0), "root"),
            (What::User(1), "a-long-+"),
            (What::User(2), "1000"),
            (What::Usage, "100"),
            (What::UsageWhole, "99"),
            (What::MemoryShare, "50.0"),
            (What::Tty, "pts/0"),
            (What::Stat, "Ssl+"),
            (What::Time, "00:00:20"),
            (What::BsdTime, "0:20"),
            (What::Elapsed, "00:20"),
            (What::PriorityUp, "19"),
            (What::PriorityOld, "80"),
            (What::Pages, "2"),
            (What::Args, "sh -c ?[2J"),
        ] {
            assert_eq!(show(what), want, "{what:?}");
        }
    }

    #[test]
    fn a_dead_process_and_one_without_arguments() {
        let show = |p: &ProcessFacts| facts().show(What::Args, p);
        assert_eq!(show(&ProcessFacts { state: 'Z', args: String::new(), ..process() }), "[sh] <defunct>");
        assert_eq!(show(&ProcessFacts { args: String::new(), ..process() }), "[sh]");
    }

    #[test]
    fn every_name_is_in_the_table_once() {
        let mut all: Vec<&str> = COLUMNS.iter().flat_map(|(names, ..)| names.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
