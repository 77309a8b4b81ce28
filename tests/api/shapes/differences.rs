//! Where Hako's answers are not those of dockerd 20.10, and why.

use super::canon::Difference;
use hako_tests::Wall;

/// One field, or all below it.
pub struct Row {
    /// The path of a [`Difference`]; `*` stands for any text.
    pub path: &'static str,
    wall: Option<Wall>,
    /// Why it is so.
    pub why: &'static str,
}

impl Row {
    /// Whether it speaks of `difference`.
    pub fn is(&self, difference: &Difference, wall: Wall) -> bool {
        self.holds_behind(wall) && fits(self.path, &difference.path)
    }

    /// Whether it speaks of this wall.
    pub fn holds_behind(&self, wall: Wall) -> bool {
        self.wall.is_none_or(|only| only == wall)
    }
}

/// Whether `path` is of the form `pattern`.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => {
            let Some(rest) = path.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }
    }
}

const fn both(path: &'static str, why: &'static str) -> Row {
    Row { path, wall: None, why }
}

const fn hyperv(path: &'static str, why: &'static str) -> Row {
    Row { path, wall: Some(Wall::Hyperv), why }
}

const fn process(path: &'static str, why: &'static str) -> Row {
    Row { path, wall: Some(Wall::Process), why }
}

const NEWER: &str = "as a newer dockerd answers it";
const GONE: &str = "a newer dockerd has it no more";
const TEXT: &str = "the text is a newer dockerd's";
const OWN: &str = "it is Hako's own";
const BAD_REQUEST: &str = "what is wrong with a request is 400 here, as in a newer dockerd";

/// The rows.
#[rustfmt::skip] // It is read as a table.
pub const TABLE: &[Row] = &[
    both("inspect, *.HostConfig.Isolation", "the wall is shown"),
    both("*.HostConfig.Isolation", "a list shows the wall too"),
    both("inspect, *.HostConfig.KernelMemory*", GONE),
    both("inspect, *.HostConfig.MaskedPaths*", NEWER),
    both("inspect, *.HostConfig.Runtime", OWN),
    both("inspect, *.HostConfig.RestartPolicy.Name", "what is not said is said as no"),
    process("inspect, *.GraphDriver.Data.ID", NEWER),
    hyperv("inspect, *.GraphDriver.*", "a disk, and an image of EROFS"),
    hyperv("inspect, *.body.Driver", "a disk, and an image of EROFS"),
    hyperv("inspect, *.body.VM*", "the virtual machine"),
    both("*.Networks.none.DNSNames", NEWER),
    both("*.Networks.none.GwPriority", NEWER),
    both("bad: filter.body.message", TEXT),
    both("bad: filters.body.message", TEXT),
    both("volume list, bad filter.body.message", TEXT),
    both("volume list, bad value.body.message", TEXT),
    both("volume prune, bad filter.body.message", TEXT),
    both("bad: log driver.body.message", TEXT),
    both("bad: no body.body.message", TEXT),
    both("bad: restart.body.message", TEXT),
    both("bad: state.body.message", TEXT),
    both("bad: stop signal.body.message", TEXT),
    both("exec create, exited.body.message", TEXT),
    both("exec create, no body.body.message", TEXT),
    both("exec resize, bad.body.message", TEXT),
    both("kill, bad signal.body.message", TEXT),
    both("kill, created.body.message", TEXT),
    both("kill, exited.body.message", TEXT),
    both("nobody: POST kill.body.message", TEXT),
    both("remove, paused.body.message", TEXT),
    both("remove, running.body.message", TEXT),
    both("resize, created.body.message", TEXT),
    both("top, created.body.message", TEXT),
    both("top, exited.body.message", TEXT),
    both("exec create, paused.body.message", "the id and not the name as it was asked for"),
    both("top, an option that nobody knows.body.message", "there is no ps: it says which option"),
    both("top, an option that nobody knows.status", "there is no ps: what it cannot do is 501"),
    both("nobody: POST attach?stream=1.body", NEWER),
    hyperv("list.body[0].SizeRw", "what the container's own files take is known"),
    hyperv("stats.body.*", "a guest counts with cgroup2, and the machine's own cost stands beside it"),
    both("events.body[20].Actor.Attributes.execDuration", NEWER),
    both("update.body.Warnings", "dockerd 20.10 warns of networks"),
    both("exec inspect, missing.body.ExitCode", NEWER),
    both("exec create, bad keys.status", BAD_REQUEST),
    both("bad: *.status", BAD_REQUEST),
    both("df*.body.BuildCache", NEWER),
    both("version.body.*", OWN),
    both("info.body.KernelMemory*", GONE),
    both("info.body.CDISpecDirs", NEWER),
    both("info.body.Guests", OWN),
    both("info.body.VirtualMachines", OWN),
    both("df.body.VirtualMachines", OWN),
    both("df, empty.body.VirtualMachines", OWN),
    both("info.body.RegistryConfig.AllowNondistributable*", GONE),
    both("info.body.Runtimes.*", OWN),
];

#[test]
fn patterns() {
    assert!(fits("a.*.c", "a.b.x.c") && fits("*", "") && fits("a*", "ab"));
    assert!(!fits("a.*.c", "a.b") && !fits("a", "ab"));
}
