//! Restart policies: back-off, counts, what calls a restart off, and that they
//! act on when hakod, or the whole host, was down meanwhile.

use hako_tests::{Case, Engine, Wall, both_walls, wait_until, with_wall};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);
const STANDING: &str = "{{.State.Status}} {{.State.Running}} {{.State.Restarting}} {{.State.Pid}} {{.State.ExitCode}}";

/// `docker run -d --restart=<policy> --name box busybox sh -c <script>`.
fn policed(case: &Case, policy: &str, script: &str) {
    case.daemon("box", &["--restart", policy, "busybox", "sh", "-c", script]);
}

fn count(case: &Case) -> u32 {
    case.inspect("box", "{{.RestartCount}}").parse().unwrap()
}

/// Waits for the time between two runs, which soon is seconds long.
fn between_two_runs(case: &Case, code: i32) {
    let want = format!("restarting true true 0 {code}");
    wait_until(MINUTE, "a back-off of some length", || count(case) >= 4 && case.inspect("box", STANDING) == want);
}

/// That nothing starts the container again.
fn stays(case: &Case, standing: &str) {
    let count = count(case);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(case.inspect("box", STANDING), standing);
    assert_eq!(self::count(case), count);
}

both_walls! {
    fn always(case) {
        let follower = case.docker(["events", "--filter", "container=box", "--format", "{{.Action}}"]).start();
        thread::sleep(Duration::from_millis(500));
        policed(case, "always", "echo run; exit 3");
        between_two_runs(case, 3);
        // Each wait is twice as long as the one before.
        let status = case.docker(["ps", "--format", "{{.Names}} {{.State}} {{.Status}}"]).text();
        assert!(status.starts_with("box restarting Restarting (3) ") && status.ends_with(" ago"), "{status}");
        assert_eq!(case.docker(["ps", "-q", "--filter", "status=restarting"]).text().lines().count(), 1);
        // As in Docker it is running already.
        assert_eq!(case.docker(["start", "box"]).text(), "box");
        case.docker(["pause", "box"]).run().fails(1, "is restarting, wait until the container is running");
        case.docker(["exec", "box", "true"]).run().fails(1, "is restarting, wait until the container is running");
        let older = hako_tests::not_on_reference("the text is a newer dockerd's");
        let text = if older { "Stop the container before" } else { "stop the container before removing or force remove" };
        case.docker(["rm", "box"]).run().fails(1, text);
        assert_eq!(case.docker(["stop", "box"]).text(), "box");
        stays(case, "exited false false 0 3");
        let runs = case.docker(["logs", "box"]).text().lines().count();
        // The last one counted was called off.
        assert_eq!(u32::try_from(runs).unwrap(), count(case));
        follower.expect("stop");
        let seen = follower.kill().out();
        let verbs: Vec<&str> = seen.lines().filter(|verb| ["start", "die"].contains(verb)).collect();
        assert_eq!(verbs[..4], ["start", "die", "start", "die"], "{seen}");
        // Somebody starts it: the count begins anew.
        let _ = case.docker(["start", "box"]).text();
        assert!(count(case) < 3);
    }

    fn on_failure_gives_up(case) {
        let waiter_of = |name: &str| case.docker(["wait", name]).start();
        policed(case, "on-failure:2", "exit 5");
        wait_until(MINUTE, "three runs", || case.inspect("box", STANDING) == "exited false false 0 5" && count(case) == 2);
        stays(case, "exited false false 0 5");
        assert_eq!(waiter_of("box").end().ok(), "5");
        // Success is no failure.
        let _ = case.docker(["rm", "box"]).text();
        policed(case, "on-failure", "exit 0");
        case.wait_for("box", "exited");
        assert_eq!(count(case), 0);
    }

    /// The end of one run is an end, also if another follows.
    fn wait_sees_each_end(case) {
        policed(case, "on-failure:1", "sleep 2; exit 7");
        let next = case.engine.docker(["wait", "box"]).start();
        assert_eq!(next.end().ok(), "7");
        wait_until(MINUTE, "the second run", || count(case) == 1 && case.inspect("box", "{{.State.Status}}") == "running");
        assert_ne!(case.inspect("box", "{{.State.FinishedAt}}"), "0001-01-01T00:00:00Z");
        assert_eq!(case.inspect("box", "{{.State.ExitCode}}"), "0");
        assert_eq!(case.docker(["wait", "box"]).text(), "7");
    }

    fn kill_and_force_end_it(case) {
        policed(case, "always", "exit 4");
        between_two_runs(case, 4);
        assert_eq!(case.docker(["kill", "box"]).text(), "box");
        stays(case, "exited false false 0 4");
        let _ = case.docker(["start", "box"]).text();
        between_two_runs(case, 4);
        assert_eq!(case.docker(["rm", "-f", "box"]).text(), "box");
        case.docker(["inspect", "box"]).run().fails(1, "No such object: box");
        // One that runs is not started again after a kill either, nor after a stop.
        policed(case, "always", "sleep 1000");
        for verb in [&["kill"][..], &["stop", "-t", "0"]] {
            let _ = case.docker(verb).arg("box").text();
            stays(case, "exited false false 0 137");
            let _ = case.docker(["start", "box"]).text();
        }
        // But it is if it is killed without the engine, which is no stop. The pid
        // of the other wall is not the host's.
        if case.wall == Wall::Process && !Engine::is_reference() {
            let pid = case.inspect("box", "{{.State.Pid}}").parse().unwrap();
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            wait_until(MINUTE, "its restart", || count(case) == 1);
        }
    }

    /// `restart` of one that waits for its restart, one that is frozen, one that has ended.
    fn restart_in_every_state(case) {
        policed(case, "on-failure", "exit 1");
        between_two_runs(case, 1);
        let _ = case.docker(["restart", "box"]).text();
        wait_until(MINUTE, "its run", || count(case) < 4);
        let _ = case.docker(["rm", "-f", "box"]).text();
        case.daemon("other", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "other"]).text();
        let _ = case.docker(["restart", "-t", "0", "other"]).text();
        assert_eq!(case.inspect("other", "{{.State.Status}}"), "running");
        let _ = case.docker(["kill", "other"]).text();
        let _ = case.docker(["restart", "other"]).text();
        assert_eq!(case.inspect("other", "{{.State.Status}}"), "running");
        let _ = case.walled("create", &["--name", "fresh", "busybox", "sleep", "1000"]).text();
        let _ = case.docker(["restart", "fresh"]).text();
        assert_eq!(case.inspect("fresh", "{{.State.Status}}"), "running");
    }

    /// hakod is killed between two runs, and while a run ends.
    fn policies_outlive_the_engine(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        let policed = |name: &str, policy: &str, script: &str| {
            case.daemon(name, &["--restart", policy, "busybox", "sh", "-c", script]);
        };
        policed("box", "always", "exit 3");
        policed("few", "on-failure:3", "[ -e /second ] && exec sleep 1000; touch /second; sleep 5; exit 6");
        policed("stopped", "unless-stopped", "sleep 1000");
        policed("kept", "unless-stopped", "sleep 1000");
        let _ = case.docker(["kill", "stopped"]).text();
        between_two_runs(case, 3);
        let before = count(case);
        let kept = case.inspect("kept", "{{.State.Pid}} {{.State.StartedAt}}");
        case.engine.end_by(Signal::SIGKILL);
        thread::sleep(Duration::from_secs(6));
        case.engine.launch();
        assert!(count(case) >= before, "the count is kept");
        wait_until(MINUTE, "the next run", || count(case) > before);
        // It ended while nobody was there.
        wait_until(MINUTE, "the second run", || case.inspect("few", "{{.State.Status}} {{.RestartCount}}") == "running 1");
        assert_eq!(case.inspect("stopped", "{{.State.Status}} {{.RestartCount}}"), "exited 0");
        assert_eq!(case.inspect("kept", "{{.State.Pid}} {{.State.StartedAt}}"), kept, "it ran on");
    }

    /// Nothing is left of any process when hakod comes back.
    fn policies_outlive_the_host(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        let policed = |name: &str, policy: &str| case.daemon(name, &["--restart", policy, "busybox", "sleep", "1000"]);
        for policy in ["no", "always", "unless-stopped", "on-failure"] {
            policed(policy, policy);
        }
        for policy in ["always", "unless-stopped", "on-failure"] {
            let name = format!("stopped-{policy}");
            policed(&name, policy);
            let _ = case.docker(["kill", &name]).text();
        }
        case.daemon("ended-well", &["--restart", "on-failure", "busybox", "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 1 & wait; done"]);
        // Until then the first process of all ignores the signal.
        wait_until(MINUTE, "the shell to be up", || case.docker(["logs", "ended-well"]).text() == "up");
        let _ = case.docker(["stop", "ended-well"]).text();
        let _ = case.walled("create", &["--name", "fresh", "--restart", "always", "busybox", "sleep", "1000"]).text();
        case.engine.boot_the_host();
        let runs = |name: &str| wait_until(MINUTE, name, || case.inspect(name, "{{.State.Status}}") == "running");
        // As in Docker `always` comes back even if it was stopped, and so does
        // `on-failure` if its code was one.
        for name in ["always", "unless-stopped", "on-failure", "stopped-always", "stopped-on-failure"] {
            runs(name);
        }
        assert_eq!(case.inspect("no", "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
        assert_eq!(case.inspect("stopped-unless-stopped", "{{.State.Status}}"), "exited");
        assert_eq!(case.inspect("ended-well", "{{.State.Status}}"), "exited");
        assert_eq!(case.inspect("fresh", "{{.State.Status}}"), "created");
        assert_eq!(case.exec("always", "echo alive").ok(), "alive");
    }

    /// The engine comes back in the middle of it all, again and again.
    fn killed_around_restarts(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        policed(case, "always", "echo run; exit 1");
        let mut seen = 0;
        for round in 0..8_u64 {
            thread::sleep(Duration::from_millis(150 * round));
            case.engine.end_by(Signal::SIGKILL);
            case.engine.launch();
            assert!(count(case) >= seen, "the count went back");
            seen = count(case);
        }
        wait_until(MINUTE, "it to be restarted still", || count(case) > seen);
        let _ = case.docker(["stop", "box"]).text();
        stays(case, "exited false false 0 1");
    }
}

#[test]
fn what_is_no_policy() {
    with_wall(Wall::Process, |case| {
        let refused = |policy: &str| case.walled("create", &["--restart", policy, "busybox"]).run().err();
        let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
        assert!(refused("always:3").contains(only) || Engine::is_reference());
        assert!(refused("sometimes").contains("invalid restart policy"));
        assert!(refused("on-failure:-1").contains("maximum retry count cannot be negative"));
        let host = json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}});
        let body = json!({"Image": "busybox", "HostConfig": host});
        let answer = case.engine.http("POST", "/v1.41/containers/create", Some(&body));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.message(), "can't create 'AutoRemove' container with restart policy");
        assert_eq!(case.docker(["ps", "-aq"]).text(), "");
    });
}

/// The waits are 100 ms, 200 ms, …: the fifth restart cannot come before 3.1 s.
#[test]
fn waits_grow() {
    with_wall(Wall::Process, |case| {
        let begin = Instant::now();
        policed(case, "always", "exit 1");
        wait_until(MINUTE, "five restarts", || count(case) >= 6);
        assert!(begin.elapsed() > Duration::from_millis(3100), "{:?}", begin.elapsed());
    });
}
