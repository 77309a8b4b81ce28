//! Health checks: run in the container by the engine, shown, filtered by, told
//! as events, and taken up again by an engine that comes back.

use hako_tests::{Case, Engine, Image, Wall, both_walls, busybox, wait_until, with_wall};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{thread, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// A container `box` that only waits, checked every second by `command`.
fn checked(case: &Case, flags: &[&str], command: &str) {
    let mut args = vec!["--health-cmd", command, "--health-interval", "1s"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]);
    case.daemon("box", &args);
}

fn status(case: &Case) -> String {
    case.inspect("box", "{{.State.Health.Status}}")
}

fn becomes(case: &Case, want: &str) {
    wait_until(MINUTE, want, || status(case) == want);
}

fn health(case: &Case) -> Value {
    serde_json::from_str(&case.inspect("box", "{{json .State.Health}}")).unwrap()
}

/// The processes of the container whose line has `text`.
fn processes(case: &Case, text: &str) -> usize {
    // In brackets, so that the search does not find itself.
    let (first, rest) = text.split_at(1);
    let script = format!("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '[{first}]{rest}' | wc -l");
    case.exec("box", &script).ok().parse().unwrap()
}

both_walls! {
    fn from_starting_to_unhealthy_to_healthy(case) {
        let follower = case.docker(["events", "--filter", "container=box", "--format", "{{.Action}}"]).start();
        thread::sleep(Duration::from_millis(500));
        checked(case, &["--health-retries", "3"], "echo looking; ls /ok");
        let up = case.docker(["ps", "--format", "{{.Status}}"]).text();
        assert!(up.ends_with("(health: starting)"), "{up}");
        becomes(case, "unhealthy");
        assert!(case.docker(["ps", "--format", "{{.Status}}"]).text().ends_with("(unhealthy)"));
        let seen = health(case);
        assert!(seen["FailingStreak"].as_i64().unwrap() >= 3, "{seen}");
        let last = &seen["Log"].as_array().unwrap().last().unwrap();
        assert_eq!(last["ExitCode"], 1, "{seen}");
        assert_eq!(last["Output"], "looking\nls: /ok: No such file or directory\n", "{seen}");
        assert!(last["Start"].as_str().unwrap() < last["End"].as_str().unwrap(), "{seen}");
        assert_eq!(case.docker(["ps", "-q", "--filter", "health=unhealthy"]).text().lines().count(), 1);
        assert_eq!(case.docker(["ps", "-q", "--filter", "health=healthy"]).text(), "");
        let summary = |version: &str| case.engine.http("GET", &format!("/v{version}/containers/json"), None).json()[0]["Health"].clone();
        if !Engine::is_reference() {
            assert_eq!(summary("1.53")["Status"], "unhealthy");
            assert_eq!(summary("1.51"), Value::Null);
        }
        let _ = case.exec("box", "touch /ok").ok();
        becomes(case, "healthy");
        wait_until(MINUTE, "five probes", || health(case)["Log"].as_array().unwrap().len() == 5);
        thread::sleep(Duration::from_secs(3));
        let seen = health(case);
        assert_eq!((seen["FailingStreak"].as_i64(), seen["Log"].as_array().unwrap().len()), (Some(0), 5), "{seen}");
        assert!(case.docker(["ps", "--format", "{{.Status}}"]).text().ends_with("(healthy)"));
        let _ = case.docker(["stop", "box"]).text();
        assert_eq!(status(case), "unhealthy", "what nothing probes is not healthy");
        follower.expect("stop");
        let events = follower.kill().out();
        let told: Vec<&str> = events.lines().filter(|line| line.starts_with("health_status")).collect();
        assert_eq!(told, ["health_status: unhealthy", "health_status: healthy"], "{events}");
        for action in ["exec_create: /bin/sh -c echo looking; ls /ok", "exec_start: /bin/sh -c echo looking; ls /ok", "exec_die"] {
            assert!(events.lines().any(|line| line == action), "{action} is missing: {events}");
        }
        // A new run begins anew.
        let _ = case.docker(["start", "box"]).text();
        assert_eq!(status(case), "starting");
        becomes(case, "healthy");
    }

    /// A probe that does not end is killed; one that cannot run says so.
    fn probes_that_fail(case) {
        if hako_tests::not_on_reference("dockerd before 23 drops what a probe wrote that ran out of time") {
            return;
        }
        checked(case, &["--health-timeout", "1s", "--health-retries", "1"], "echo before; exec sleep 1234");
        becomes(case, "unhealthy");
        let last = health(case)["Log"][0].clone();
        assert_eq!(last["ExitCode"], -1, "{last}");
        assert_eq!(last["Output"], "Health check exceeded timeout (1s): before\n", "{last}");
        thread::sleep(Duration::from_secs(3));
        assert!(processes(case, "sleep 1234") <= 1, "killed probes are still there");
        let _ = case.docker(["rm", "-f", "box"]).text();
        // Much output, of which the beginning is kept; its end is waited for all the same.
        checked(case, &[], "head -c 300000 /dev/zero | tr '\\0' x; exit 3");
        wait_until(MINUTE, "a probe", || health(case)["Log"][0]["ExitCode"] == 3);
        let output = health(case)["Log"][0]["Output"].as_str().unwrap().to_owned();
        assert_eq!(output, format!("{}...", "x".repeat(4096)));
        let _ = case.docker(["rm", "-f", "box"]).text();
        let body = json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"],
            "Healthcheck": {"Test": ["CMD", "/no/such/probe"], "Interval": 1_000_000_000},
            "HostConfig": {"Isolation": case.isolation().split_once('=').unwrap().1, "NetworkMode": "none"},
        });
        let created = case.engine.http("POST", "/v1.41/containers/create?name=box", Some(&body));
        assert_eq!((created.status, created.json()["Warnings"].clone()), (201, json!([])), "{}", created.text());
        let _ = case.docker(["start", "box"]).text();
        wait_until(MINUTE, "a probe", || health(case)["Log"][0]["ExitCode"].is_i64());
        let last = health(case)["Log"][0].clone();
        assert_eq!(last["ExitCode"], -1, "{last}");
        assert!(last["Output"].as_str().unwrap().contains("no such file or directory"), "{last}");
    }

    /// The image's check as the image's user, and without it. The image's shell is
    /// for its build alone: in dockerd a container does not inherit it.
    fn of_the_image(case) {
        let healthcheck = json!({"Test": ["CMD-SHELL", "id -u; echo $0 $WHERE; test -e /tmp"], "Interval": 1_000_000_000_i64});
        let image = Image::new("checked:latest", busybox().layers().to_vec())
            .with("Cmd", json!(["sleep", "1000"]))
            .with("Env", json!(["PATH=/bin:/usr/bin", "WHERE=here"]))
            .with("User", json!("1000"))
            .with("Shell", json!(["/bin/busybox", "sh", "-c"]))
            .with("Healthcheck", healthcheck);
        case.engine.load(&image);
        case.daemon("box", &["checked"]);
        becomes(case, "healthy");
        assert_eq!(health(case)["Log"][0]["Output"], "1000\n/bin/sh here\n");
        let _ = case.docker(["rm", "-f", "box"]).text();
        // What the command line says goes before, the rest is the image's.
        case.daemon("box", &["--health-retries", "7", "checked"]);
        assert_eq!(case.inspect("box", "{{.Config.Healthcheck.Retries}} {{index .Config.Healthcheck.Test 0}}"), "7 CMD-SHELL");
        let _ = case.docker(["rm", "-f", "box"]).text();
        case.daemon("box", &["--no-healthcheck", "checked"]);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(case.inspect("box", "{{json .State.Health}}"), "null");
        assert!(!case.docker(["ps", "--format", "{{.Status}}"]).text().contains('('));
        assert_eq!(case.docker(["ps", "-q", "--filter", "health=none"]).text().lines().count(), 1);
    }

    /// Nothing probes what is frozen.
    fn not_while_paused(case) {
        checked(case, &[], "echo x >> /probes");
        becomes(case, "healthy");
        let _ = case.docker(["pause", "box"]).text();
        thread::sleep(Duration::from_secs(1));
        let last = || health(case)["Log"].as_array().unwrap().last().unwrap().clone();
        let before = last();
        thread::sleep(Duration::from_secs(3));
        assert_eq!(last(), before);
        assert_eq!(status(case), "unhealthy", "as in dockerd: nothing knows better");
        let _ = case.docker(["unpause", "box"]).text();
        wait_until(MINUTE, "another probe", || last() != before);
    }

    /// hakod is killed while a probe runs, and goes on probing when it is back.
    fn outlives_the_engine(case) {
        if hako_tests::not_on_reference("the engine itself is ended and started again") {
            return;
        }
        checked(case, &[], "sleep 2; test -e /ok");
        wait_until(MINUTE, "a probe to run", || processes(case, "sleep 2") > 0);
        case.engine.end_by(Signal::SIGKILL);
        case.engine.launch();
        assert_eq!(status(case), "starting");
        let _ = case.exec("box", "touch /ok").ok();
        becomes(case, "healthy");
        assert_eq!(case.inspect("box", "{{.State.Status}} {{.RestartCount}}"), "running 0");
    }

    /// A failure in the start period is forgiven, and probes come faster in it.
    fn start_period(case) {
        if hako_tests::not_on_reference("start intervals are of API 1.44") || hako_tests::client_before(25, "it has no --health-start-interval") {
            return;
        }
        let flags = ["--health-start-period", "1m", "--health-start-interval", "500ms", "--health-retries", "1"];
        checked(case, &flags, "test -e /ok");
        wait_until(MINUTE, "some probes", || health(case)["Log"].as_array().unwrap().len() >= 3);
        assert_eq!(status(case), "starting");
        assert_eq!(health(case)["FailingStreak"], 0);
        let _ = case.exec("box", "touch /ok").ok();
        becomes(case, "healthy");
        let _ = case.exec("box", "rm /ok").ok();
        becomes(case, "unhealthy");
    }
}

#[test]
fn what_is_no_check() {
    with_wall(Wall::Process, |case| {
        let refused = |check: Value| {
            let body = json!({"Image": "busybox", "Healthcheck": check});
            let answer = case.engine.http("POST", "/v1.41/containers/create", Some(&body));
            assert_eq!(answer.status, 400, "{}", answer.text());
            answer.message()
        };
        for field in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
            for nanos in [-10_000_000, 500_000] {
                assert_eq!(refused(json!({field: nanos})), format!("{field} in Healthcheck cannot be less than 1ms"));
            }
        }
        assert_eq!(refused(json!({"Retries": -10})), "Retries in Healthcheck cannot be negative");
        case.docker(["ps", "--filter", "health=fine"]).run().fails(
            1,
            "invalid filter 'health=fine': invalid value for health (fine): must be one of none, starting, healthy, unhealthy",
        );
    });
}
