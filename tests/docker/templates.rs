//! Virtual machines that are copies of a template, and those that wait.

use crate::programs::build;
use hako_tests::{Engine, Options, busybox, not_on_reference, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);

/// An engine whose table `[vm]` has this text.
fn engine(text: &str, networks: bool) -> (Engine, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, format!("[vm]\n{text}\n")).unwrap();
    let args = vec!["--config-file".to_owned(), file.display().to_string()];
    let engine = Engine::with(Options { args, networks, ..Options::default() });
    engine.load(&busybox());
    (engine, folder)
}

fn machines(engine: &Engine) -> Value {
    engine.http("GET", "/info", None).json()["VirtualMachines"].clone()
}

fn count(engine: &Engine, what: &str) -> u64 {
    machines(engine)[what].as_u64().unwrap_or_else(|| panic!("{what}: {}", machines(engine)))
}

/// A container behind the hyperv wall.
fn run(engine: &Engine, args: &[&str]) -> String {
    run_within(engine, SOON, args)
}

fn run_within(engine: &Engine, deadline: Duration, args: &[&str]) -> String {
    engine.docker(["run", "--rm", "--isolation=hyperv"]).args(args).deadline(deadline).text()
}

fn until(engine: &Engine, what: &str, number: u64) {
    let begin = Instant::now();
    while count(engine, what) != number {
        assert!(begin.elapsed() < SOON, "{what} is not {number}: {}\n{}", machines(engine), engine.log());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_second_is_a_copy() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("templates = true\npool = 0", false);
    assert_eq!(run(&engine, &["busybox", "echo", "cold"]), "cold");
    assert_eq!((count(&engine, "ColdBoots"), count(&engine, "TemplateClones")), (1, 0));
    until(&engine, "Templates", 1);
    assert!(count(&engine, "TemplatesSize") > 10 << 20);
    assert_eq!(run(&engine, &["busybox", "echo", "warm"]), "warm");
    assert_eq!((count(&engine, "ColdBoots"), count(&engine, "TemplateClones")), (1, 1));
    // The size of the machine is the template's, the limit the container's.
    let limit = "cat /sys/fs/cgroup/memory.max";
    assert_eq!(run(&engine, &["--memory=100m", "busybox", "sh", "-c", limit]), (100 << 20).to_string());
    let df: Value = engine.http("GET", "/system/df", None).json();
    assert!(df["VirtualMachines"]["TemplatesSize"].as_u64().unwrap() > 0, "{df}");
    let table = engine.hako(["system", "df"]).text();
    assert!(table.lines().any(|line| line.starts_with("VM Templates")), "{table}");
    engine.finish();
}

#[test]
fn switched_off() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("templates = false", false);
    run(&engine, &["busybox", "true"]);
    run(&engine, &["busybox", "true"]);
    assert_eq!((count(&engine, "ColdBoots"), count(&engine, "Templates")), (2, 0));
    assert_eq!(count(&engine, "TemplatesBeingMade"), 0);
    engine.finish();
}

/// What belongs to one machine is no other's: the seed of its kernel, its boot's
/// name, keys that are made at its start.
#[test]
fn a_hundred_copies_share_nothing() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    const COPIES: usize = 100;
    let (engine, _folder) = engine("pool = 1", false);
    build(&engine, "keys", &["openssl"], "");
    let script = "cat /proc/sys/kernel/random/boot_id; head -c 32 /dev/urandom | base64; \
                  openssl genpkey -algorithm ed25519 | sed -n 2p; hostname; cat /proc/sys/kernel/random/uuid";
    let one = || run(&engine, &["--memory=256m", "--network=none", "keys", "sh", "-c", script]);
    one();
    until(&engine, "TemplatesBeingMade", 0);
    let before = count(&engine, "ColdBoots");
    let (left, said) = (AtomicUsize::new(COPIES), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let text = one();
                    said.lock().unwrap().push(text);
                }
            });
        }
    });
    let said = said.into_inner().unwrap();
    assert_eq!(count(&engine, "ColdBoots"), before, "{}", engine.log());
    assert!(count(&engine, "PoolStarts") > 0, "{}", machines(&engine));
    let mut seen = HashSet::new();
    for text in &said {
        assert_eq!(text.lines().count(), 5, "{text}");
        for line in text.lines() {
            assert!(seen.insert(line), "{line} was said twice");
        }
    }
    assert_eq!(seen.len(), 5 * COPIES);
    engine.finish();
}

/// With everything that a network brings: an address, names, ports, an exec.
#[test]
fn those_that_wait_have_networks() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("templates = true\npool = 2", true);
    let _ = engine.docker(["network", "create", "own"]).text();
    run(&engine, &["--network=own", "busybox", "true"]);
    until(&engine, "PoolWaiting", 2);
    let detach = |name: &str, more: &[&str]| {
        let flags = ["run", "--detach", "--isolation=hyperv", "--network=own", "--name", name];
        let _ = engine.docker(flags).args(more).args(["busybox", "sleep", "1000"]).deadline(SOON).text();
    };
    detach("one", &[]);
    detach("two", &["--publish=127.0.0.1:8080:80"]);
    assert_eq!(count(&engine, "PoolStarts"), 2, "{}", engine.log());
    let ping = engine.docker(["exec", "one", "ping", "-c", "1", "-W", "5", "two"]).deadline(SOON).run();
    assert!(ping.ok().contains("1 packets received"), "{}", ping.out());
    let serve = "mkdir /w; echo served >/w/x; httpd -p 80 -h /w";
    let _ = engine.docker(["exec", "two", "sh", "-c", serve]).text();
    let get = || engine.on_host("busybox").args(["wget", "-q", "-O", "-", "http://127.0.0.1:8080/x"]).run();
    wait_until(SOON, "the published port serves", || get().out() == "served");
    let hosts = engine.docker(["exec", "one", "cat", "/etc/hosts"]).text();
    let address = engine.docker(["inspect", "--format", "{{.NetworkSettings.Networks.own.IPAddress}}", "one"]).text();
    assert!(hosts.contains(address.trim()), "{hosts}");
    let interfaces = engine.docker(["exec", "one", "ls", "/sys/class/net"]).text();
    assert_eq!(interfaces, "eth0\nlo");
    let _ = engine.docker(["network", "connect", "bridge", "one"]).text();
    let interfaces = engine.docker(["exec", "one", "ls", "/sys/class/net"]).text();
    assert_eq!(interfaces, "eth0\neth1\nlo");
    // A restarted engine finds their shims again, and stops them.
    engine.end_by(Signal::SIGKILL);
    engine.launch();
    assert_eq!(engine.docker(["exec", "two", "cat", "/w/x"]).deadline(SOON).text(), "served");
    let _ = engine.docker(["rm", "--force", "one", "two"]).deadline(SOON).text();
    let _ = engine.docker(["network", "rm", "own"]).text();
    engine.finish();
}

/// What waits goes with its engine, however that ends.
#[test]
fn those_that_wait_go_with_the_engine() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("pool = 2", true);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        run(&engine, &["busybox", "true"]);
        until(&engine, "PoolWaiting", 2);
        let waits = || fs::read_dir(engine.exec_root().join("await")).map_or(0, Iterator::count);
        assert_eq!(waits(), 2);
        engine.end_by(signal);
        wait_until(SOON, "the machines end", || engine.traces().processes.is_empty());
        engine.launch();
        wait_until(SOON, "what is left is swept", || waits() == 0);
        assert_eq!(fs::read_dir(engine.exec_root().join("netns")).map_or(0, Iterator::count), 0);
    }
    engine.finish();
}

/// So does one that is still being made.
#[test]
fn one_that_is_being_made_goes_with_the_engine() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("pool = 1", true);
    run(&engine, &["busybox", "true"]);
    let shims = || fs::read_dir(engine.exec_root().join("await")).into_iter().flatten().flatten();
    wait_until(SOON, "one is being made", || shims().any(|shim| shim.path().join("shim.log").exists()));
    assert_eq!(count(&engine, "PoolWaiting"), 0);
    engine.finish();
}

/// One that is killed while it waits is not given out, and another takes its place.
#[test]
fn one_that_has_died_is_not_given_out() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let (engine, _folder) = engine("templates = true\npool = 1", false);
    run(&engine, &["--network=none", "busybox", "true"]);
    until(&engine, "PoolWaiting", 1);
    let qemu = qemus(&engine);
    assert_eq!(qemu.len(), 1, "{qemu:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(qemu[0]), Signal::SIGKILL).unwrap();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(run(&engine, &["--network=none", "busybox", "echo", "all the same"]), "all the same");
    assert_eq!(count(&engine, "PoolStarts"), 0);
    until(&engine, "PoolWaiting", 1);
    run(&engine, &["--network=none", "busybox", "true"]);
    assert_eq!(count(&engine, "PoolStarts"), 1);
    engine.finish();
}

/// The QEMUs below this engine.
fn qemus(engine: &Engine) -> Vec<i32> {
    let is_qemu =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu"));
    let mut found = descendants(engine.pid());
    found.retain(is_qemu);
    found
}

fn descendants(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all: HashSet<i32> = of_threads.chain([children]).flat_map(|text| numbers(&text)).collect();
    all.into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

fn numbers(text: &str) -> Vec<i32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// In a folder they outlive their engine, and one that does not serve is found out.
#[test]
fn in_a_folder() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let templates = folder.path().join("templates");
    let text = format!("template-dir = '{}'\npool = 0", templates.display());
    let starts = |made: bool| {
        let (engine, _folder) = engine(&text, false);
        run(&engine, &["--network=none", "busybox", "true"]);
        until(&engine, "TemplatesBeingMade", 0);
        let served = count(&engine, "Templates");
        assert_eq!(served, u64::from(made), "{}", engine.log());
        if made {
            run(&engine, &["--network=none", "busybox", "true"]);
            assert!(count(&engine, "TemplateClones") > 0);
        } else {
            assert_eq!(run(&engine, &["--network=none", "busybox", "echo", "booted"]), "booted");
            assert!(count(&engine, "TemplateFailures") > 0);
        }
        engine.finish();
    };
    starts(true);
    let first = states(&templates);
    assert_eq!(first.len(), 1);
    starts(true);
    assert_eq!(states(&templates), first);
    for (path, _) in &first {
        let length = fs::metadata(path).unwrap().len();
        fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
    }
    starts(false);
    assert_eq!(states(&templates), []);
    starts(true);
}

/// The states of templates in a folder, and when each was made.
fn states(folder: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("state"));
    let made = |path: &std::path::PathBuf| fs::metadata(path).and_then(|meta| meta.modified());
    entries.filter_map(|path| Some((path.clone(), made(&path).ok()?))).collect()
}

/// In a row, at once, and beside processes that never rest.
#[test]
fn many_starts() {
    if not_on_reference("it has no virtual machines") {
        return;
    }
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (row, at_once) = (number("HAKO_TEST_STARTS", 20), number("HAKO_TEST_AT_ONCE", 20));
    let (engine, _folder) = engine("pool = 0", false);
    // Twenty at once and eight busy processes share what the other tests leave.
    let patience = Duration::from_secs(300);
    let start = || {
        let begin = Instant::now();
        let args = ["--network=none", "--memory=64m", "busybox", "echo", "x"];
        assert_eq!(run_within(&engine, patience, &args), "x");
        begin.elapsed()
    };
    start();
    until(&engine, "Templates", 1);
    let boots = count(&engine, "ColdBoots");
    let busy: Vec<_> = (0..8).map(|_| Busy::new()).collect();
    for load in [Some(busy), None] {
        let mut times: Vec<Duration> = (0..row).map(|_| start()).collect();
        times.sort();
        eprintln!("{row} in a row, load {}: median {:?}, most {:?}", load.is_some(), times[row / 2], times[row - 1]);
        let begin = Instant::now();
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(start);
            }
        });
        eprintln!("{at_once} at once: {:?}, {}", begin.elapsed(), machines(&engine));
        assert_eq!(count(&engine, "ColdBoots"), boots, "{}", engine.log());
    }
    engine.finish();
}

/// A process that takes all of a processor that it gets.
struct Busy(std::process::Child);

impl Busy {
    fn new() -> Self {
        Self(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
