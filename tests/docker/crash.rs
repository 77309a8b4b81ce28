//! hakod killed while containers run.

use hako_tests::{Engine, busybox, wait_until};
use nix::sys::signal::Signal;
use std::{
    thread,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts for ever, reads words from stdin, ends by `exit`.
const TALKER: &str = "i=0; (while :; do i=$((i+1)); echo line $i; sleep 0.1; done) & \
                      while read word; do echo got $word; [ $word = quit ] && exit 42; done";

/// Two containers per wall: one talks on, one ends while hakod is dead.
#[test]
fn containers_outlive_the_engine() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    // The slower wall first, so that all four run when hakod dies.
    for wall in ["hyperv", "process"] {
        let flag = format!("--isolation={wall}");
        let run = |name: &str, script: &str| {
            let _ = engine.docker(["run", "-d", "-i", "--name", name, &flag, "busybox", "sh", "-c", script]).text();
        };
        run(&format!("talks-{wall}"), TALKER);
        run(&format!("ends-{wall}"), "echo before; sleep 15; echo after; exit 17");
    }
    let begun = Instant::now();
    let names = || {
        let mut rows: Vec<String> =
            engine.docker(["ps", "--format", "{{.Names}}"]).text().lines().map(str::to_owned).collect();
        rows.sort();
        rows.join(" ")
    };
    assert_eq!(names(), "ends-hyperv ends-process talks-hyperv talks-process");
    let ids = engine.docker(["ps", "-q", "--no-trunc"]).text();

    engine.end_by(Signal::SIGKILL);
    thread::sleep(Duration::from_secs(17).saturating_sub(begun.elapsed()));
    engine.launch();

    wait_until(MINUTE, "the engine to see which containers run", || names() == "talks-hyperv talks-process");
    for wall in ["process", "hyperv"] {
        let (talks, ends) = (format!("talks-{wall}"), format!("ends-{wall}"));
        let inspect = |format: &str| engine.docker(["inspect", "-f", format, &ends]).text();
        assert_eq!(inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 17");
        assert_eq!(engine.docker(["wait", &ends]).text(), "17");
        assert_eq!(engine.docker(["logs", &ends]).text(), "before\nafter");
        assert_eq!(engine.docker(["exec", &talks, "echo", "exec works"]).text(), "exec works");
        // Attach: what is typed arrives, and the end is seen with its code.
        let waiter = engine.docker(["wait", &talks]).start();
        let mut attached = engine.docker(["attach", &talks]).start();
        wait_until(MINUTE, "attach to show output", || attached.stdout().contains("line "));
        attached.send("hello\n");
        attached.expect("got hello\n");
        attached.send("quit\n");
        let output = attached.end();
        assert_eq!(output.code, 42, "{output}");
        assert_eq!(waiter.end().ok(), "42");
        // Not one line of the log is missing, from before, during and after.
        let logs = engine.docker(["logs", &talks]).text();
        let numbers: Vec<usize> = logs.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "lines are missing");
        assert!(numbers.len() > 40, "only {} lines in over fifteen seconds", numbers.len());
        assert!(logs.contains("got hello\n"), "{logs}");
    }
    assert_eq!(ids.lines().count(), 4);
    engine.finish();
}

/// Killed again and again while it works, hakod loses nothing it answered.
#[test]
fn killed_at_any_time() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    let mut created = Vec::new();
    for round in 0..6_u64 {
        let work = engine.docker(["create", "--name", &format!("c{round}"), "busybox", "true"]).text();
        created.push(work);
        let mut running = engine.docker(["run", "--name", &format!("r{round}"), "busybox", "echo", "hello"]).start();
        thread::sleep(Duration::from_millis(15 * round));
        engine.end_by(Signal::SIGKILL);
        let _ = running.runs();
        let _ = running.kill();
        engine.launch();
        let known = engine.docker(["ps", "-aq", "--no-trunc"]).text();
        for id in &created {
            assert!(known.contains(id.as_str()), "{id} is lost in round {round}");
        }
        assert_eq!(engine.docker(["run", "--rm", "busybox", "echo", "works"]).text(), "works");
    }
    engine.finish();
}

/// `--rm` is kept also for a container that ends while hakod is dead.
#[test]
fn removed_by_an_engine_that_was_down() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    for wall in ["hyperv", "process"] {
        let flag = format!("--isolation={wall}");
        let _ = engine.docker(["run", "-d", "--rm", "--name", wall, &flag, "busybox", "sleep", "4"]).text();
        let kept = format!("kept-{wall}");
        let _ = engine.docker(["run", "-d", "--rm", "--name", &kept, &flag, "busybox", "sleep", "1000"]).text();
    }
    engine.end_by(Signal::SIGKILL);
    thread::sleep(Duration::from_secs(5));
    engine.launch();
    let names = || {
        let text = engine.docker(["ps", "-a", "--format", "{{.Names}}"]).text();
        let mut names: Vec<&str> = text.lines().collect();
        names.sort_unstable();
        names.join(" ")
    };
    wait_until(MINUTE, "what has ended to be gone", || names() == "kept-hyperv kept-process");
    let _ = engine.docker(["kill", "kept-hyperv", "kept-process"]).text();
    wait_until(MINUTE, "the others to be gone", || names().is_empty());
    engine.finish();
}
