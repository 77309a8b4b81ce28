//! `pause`: a workload stands still, and behind the hyperv wall its machine does.

use hako_tests::{Case, Wall, both_walls, wait_until, with_wall};
use nix::sys::signal::Signal;
use std::{
    fs, thread,
    time::{Duration, SystemTime},
};

/// A container that counts into a file.
fn counter(case: &Case, name: &str) {
    case.daemon(name, &["busybox", "sh", "-c", "while :; do echo x >> /count; sleep 0.05; done"]);
    wait_until(Duration::from_secs(30), "it to count", || case.exec(name, "test -s /count").code == 0);
}

fn count(case: &Case, name: &str) -> u64 {
    case.exec(name, "wc -l < /count").ok().parse().expect("a number")
}

/// Processor time of a process, in clock ticks.
fn ticks(pid: i64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// QEMU's process.
fn machine(case: &Case, name: &str) -> i64 {
    let dir = case.engine.exec_root().join("shims").join(case.inspect(name, "{{.Id}}"));
    let state: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap();
    state["vm_pid"].as_i64().expect("a machine")
}

both_walls! {
    fn stands_still_and_goes_on(case) {
        counter(case, "box");
        assert_eq!(case.docker(["pause", "box"]).text(), "box");
        assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"), "paused true true");
        assert!(case.docker(["ps", "--format", "{{.Status}}"]).text().ends_with("(Paused)"));
        case.docker(["pause", "box"]).run().fails(1, "is already paused");
        case.docker(["exec", "box", "true"]).run().fails(1, "is paused, unpause the container before exec");
        case.docker(["rm", "box"]).run().fails(1, "paused");
        thread::sleep(Duration::from_secs(1));
        let _ = case.docker(["unpause", "box"]).text();
        case.docker(["unpause", "box"]).run().fails(1, "is not paused");
        let first = count(case, "box");
        wait_until(Duration::from_secs(30), "it to count on", || count(case, "box") > first + 5);
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "running");
    }

    /// Nothing was counted in between.
    fn counts_nothing_meanwhile(case) {
        counter(case, "box");
        // As many as the clock allows, were it not paused.
        let before = count(case, "box");
        let _ = case.docker(["pause", "box"]).text();
        thread::sleep(Duration::from_secs(4));
        let _ = case.docker(["unpause", "box"]).text();
        let after = count(case, "box");
        assert!(after < before + 60, "{before} before and {after} after four seconds of pause");
    }

    /// A clock that stood still is set again.
    fn the_time_is_right_afterwards(case) {
        case.daemon("box", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "box"]).text();
        thread::sleep(Duration::from_secs(4));
        let _ = case.docker(["unpause", "box"]).text();
        let inside: u64 = case.exec("box", "date +%s").ok().parse().expect("seconds");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(inside + 2 > now, "the container is {} s late", now - inside);
    }

    fn ends_of_a_paused_container(case) {
        for (name, verb) in [("killed", "kill"), ("stopped", "stop")] {
            case.daemon(name, &["busybox", "sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"]);
            wait_until(Duration::from_secs(30), "the trap", || case.docker(["logs", name]).text() == "up");
            let _ = case.docker(["pause", name]).text();
            let _ = case.docker([verb, name]).text();
            case.wait_for(name, "exited");
        }
        assert_eq!(case.inspect("killed", "{{.State.ExitCode}}"), "137");
        assert_eq!(case.inspect("stopped", "{{.State.ExitCode}}"), "7");
        case.daemon("removed", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "removed"]).text();
        let _ = case.docker(["rm", "-f", "removed"]).text();
        assert_eq!(case.docker(["ps", "-aq", "--filter", "name=removed"]).text(), "");
    }

    /// An engine that comes back finds it as it was.
    fn outlives_the_engine(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        counter(case, "box");
        counter(case, "other");
        let _ = case.docker(["pause", "box"]).text();
        let _ = case.docker(["pause", "other"]).text();
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "paused");
        let _ = case.docker(["unpause", "box"]).text();
        let first = count(case, "box");
        wait_until(Duration::from_secs(30), "it to count on", || count(case, "box") > first);
        let _ = case.docker(["rm", "-f", "other"]).text();
    }
}

/// A machine that is paused uses no processor; a request wakes it and no longer.
#[test]
fn a_paused_machine_uses_no_processor() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    with_wall(Wall::Hyperv, |case| {
        case.daemon("box", &["busybox", "sh", "-c", "while :; do :; done"]);
        let pid = machine(case, "box");
        let used = |pause: u64| {
            let before = ticks(pid);
            thread::sleep(Duration::from_millis(pause));
            ticks(pid) - before
        };
        assert!(used(1000) > 5, "the loop does not run");
        let _ = case.docker(["pause", "box"]).text();
        assert!(used(2000) <= 1, "a paused machine works");
        // What needs the guest works, and the machine rests again.
        let _ = case.docker(["update", "--pids-limit=50", "box"]).text();
        assert!(used(2000) <= 1, "a paused machine works after a request");
        let _ = case.docker(["unpause", "box"]).text();
        assert!(used(1000) > 5, "the loop does not go on");
    });
}
