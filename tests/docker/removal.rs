//! A removal is answered before all of what it removes is gone; what is left
//! goes soon after, also if the engine is killed in between.

use hako_tests::{Engine, Traces, both_walls, busybox, wait_until};
use nix::sys::signal::Signal;
use std::{fs, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// What is left of containers, in the folders and on the machine.
fn left(engine: &Engine, before: &Traces) -> String {
    let mut left = engine.traces().since(before);
    left.ignore_durable(&engine.data_root());
    let folders = fs::read_dir(engine.data_root().join("containers")).unwrap().count();
    if left.is_empty() && folders == 0 { String::new() } else { format!("{folders} folders of containers\n{left}") }
}

fn nothing_is_left(engine: &Engine, before: &Traces) {
    wait_until(MINUTE, "the remains of containers to go", || left(engine, before).is_empty());
}

both_walls! {
    /// Who hears of a removal can use the name, and does not see the container.
    fn a_name_is_free_at_once(case) {
        for round in 0..8 {
            assert_eq!(case.walled("run", &["--rm", "--name", "same", "busybox", "echo", "hello"]).text(), "hello");
            let id = case.walled("create", &["--name", "same", "busybox", "true"]).text();
            assert_eq!(case.docker(["ps", "-aq", "--no-trunc"]).text(), id, "round {round}");
            assert_eq!(case.docker(["rm", "same"]).text(), "same");
            assert_eq!(case.docker(["ps", "-aq"]).text(), "");
            case.docker(["inspect", &id]).run().fails(1, "No such");
        }
    }

    /// What a container has of networks and volumes is given back before its end
    /// is answered.
    fn what_it_had_is_free_at_once(case) {
        let _ = case.docker(["volume", "create", "data"]).text();
        let script = "echo kept > /data/file";
        assert_eq!(case.walled("run", &["--rm", "-v", "data:/data", "busybox", "sh", "-c", script]).text(), "");
        let read = case.walled("run", &["--rm", "-v", "data:/data", "busybox", "cat", "/data/file"]).text();
        assert_eq!(read, "kept");
        assert_eq!(case.docker(["volume", "rm", "data"]).text(), "data");
        assert_eq!(case.walled("run", &["--rm", "-v", "/anonymous", "busybox", "true"]).text(), "");
        assert_eq!(case.docker(["volume", "ls", "-q"]).text(), "");
        let _ = case.docker(["tag", "busybox", "other"]).text();
        assert_eq!(case.walled("run", &["--rm", "other", "true"]).text(), "");
        let _ = case.docker(["rmi", "other"]).text();
    }
}

both_walls! { networks:
    /// A network is free as soon as the run on it is answered.
    fn its_network_is_free_at_once(case) {
        for _ in 0..3 {
            let _ = case.docker(["network", "create", "own"]).text();
            assert_eq!(case.networked("run", &["--rm", "--network=own", "busybox", "true"]).text(), "");
            assert_eq!(case.docker(["network", "rm", "own"]).text(), "own");
        }
    }
}

/// hakod is killed as soon as a run with `--rm` is answered.
#[test]
fn killed_after_a_run() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    let run = |wall: &str, name: &str| {
        let wall = format!("--isolation={wall}");
        engine.docker(["run", "--rm", "--name", name, &wall, "busybox", "echo", "done"]).text()
    };
    // What is kept for all is made by the first.
    assert_eq!((run("process", "first").as_str(), run("hyperv", "second").as_str()), ("done", "done"));
    wait_until(MINUTE, "the first to go", || fs::read_dir(engine.data_root().join("containers")).unwrap().count() == 0);
    let before = engine.traces();
    for wall in ["process", "process", "process", "hyperv"] {
        assert_eq!(run(wall, "again"), "done");
        engine.end_by(Signal::SIGKILL);
        engine.launch();
        assert_eq!(engine.docker(["ps", "-aq"]).text(), "");
        assert_eq!(run(wall, "again"), "done");
    }
    let engine_itself = |traces: &Traces| traces.processes.len() == before.processes.len();
    wait_until(MINUTE, "shims to go", || engine_itself(&engine.traces()));
    let folders = || fs::read_dir(engine.data_root().join("containers")).unwrap().count();
    wait_until(MINUTE, "folders to go", || folders() == 0);
    engine.finish();
}

/// hakod is killed while it removes what a container has written.
#[test]
fn killed_in_the_middle_of_a_removal() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    let script = "mkdir /many; i=0; while [ $i -lt 4000 ]; do : > /many/$i; i=$((i+1)); done";
    let folders = || fs::read_dir(engine.data_root().join("containers")).unwrap().count();
    for _ in 0..4 {
        let run = ["run", "--name", "big", "--isolation=process", "--network=none", "busybox", "sh", "-c", script];
        assert_eq!(engine.docker(run).text(), "");
        assert_eq!(engine.docker(["rm", "big"]).text(), "big");
        engine.end_by(Signal::SIGKILL);
        engine.launch();
        assert_eq!(engine.docker(["ps", "-aq"]).text(), "");
        wait_until(MINUTE, "the folder to go", || folders() == 0);
    }
    engine.finish();
}

/// Fifty runs in a row are not followed by more than a moment's work.
#[test]
fn fifty_runs_leave_nothing() {
    if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
        return;
    }
    let engine = Engine::start();
    engine.load(&busybox());
    let run = || engine.docker(["run", "--rm", "--isolation=process", "--network=none", "busybox", "echo", "x"]).text();
    assert_eq!(run(), "x");
    wait_until(MINUTE, "the first to go", || fs::read_dir(engine.data_root().join("containers")).unwrap().count() == 0);
    let before = engine.traces();
    for _ in 0..50 {
        assert_eq!(run(), "x");
    }
    nothing_is_left(&engine, &before);
    engine.finish();
}
