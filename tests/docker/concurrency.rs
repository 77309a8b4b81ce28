//! Many clients at once, and verbs that meet on one container.

use hako_tests::{Answer, Case, Engine, Image, Layer, Options, Wall, both_walls, busybox, http, wait_until, with_wall};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    env,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A request whose answer is there in reasonable time, or the test fails.
fn ask(socket: &Path, method: &str, target: &str, body: Option<&Value>) -> Answer {
    let body = body.map(|body| body.to_string().into_bytes());
    http(socket, method, &format!("/v1.41{target}"), body.as_deref())
}

fn post(case: &Case, target: &str) -> Answer {
    ask(&case.engine.socket(), "POST", target, None)
}

fn isolation(case: &Case) -> String {
    case.isolation().split_once('=').unwrap().1.to_owned()
}

/// Creates a container `box` that sleeps, and does not start it.
fn sleeper(case: &Case) {
    let _ = case.walled("create", &["--name", "box", "busybox", "sleep", "1000"]).text();
}

fn none_is_left(case: &Case) {
    assert_eq!(case.docker(["ps", "-aq"]).text(), "");
}

/// Asks for `target` while a new container `box` is being started. An answer
/// that says that it came before the start is tried again.
fn during_start(case: &Case, method: &str, target: &str) -> (u16, Answer) {
    for attempt in 1..20 {
        let _ = case.docker(["rm", "-f", "box"]).run();
        sleeper(case);
        let (started, answer) = thread::scope(|scope| {
            let start = scope.spawn(|| post(case, "/containers/box/start").status);
            thread::sleep(Duration::from_millis(5 * attempt));
            let answer = ask(&case.engine.socket(), method, target, None);
            (start.join().unwrap(), answer)
        });
        let too_early = started == 404
            || answer.status == 304
            || (answer.status == 409 && answer.message().ends_with("is not running"));
        if !too_early {
            return (started, answer);
        }
    }
    panic!("{target} always came before the start");
}

both_walls! {
    /// The second waits for the first, and then has nothing to do.
    fn two_starts(case) {
        sleeper(case);
        let mut codes: Vec<u16> = thread::scope(|scope| {
            let starts: Vec<_> = (0..5).map(|_| scope.spawn(|| post(case, "/containers/box/start").status)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        codes.sort_unstable();
        assert_eq!(codes, [204, 304, 304, 304, 304]);
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "running");
        assert_eq!(case.exec("box", "echo alive").ok(), "alive");
    }

    /// `create` and `rmi` at once: a container that was made has its image.
    fn create_while_its_image_goes(case) {
        let image = Image::new("raced:1", vec![Layer::new().file("f", 0o644, "raced").finish()]);
        let (mut made, mut gone) = (0, 0);
        for round in 0..40 {
            case.engine.load(&image);
            let name = format!("raced{round}");
            let socket = case.engine.socket();
            let body = json!({ "Image": "raced:1", "Cmd": ["x"], "HostConfig": { "Isolation": isolation(case), "NetworkMode": "none" } });
            let target = ["/images/raced:1", "/images/raced:1?force=1"][round % 2];
            let prunes = round % 4 == 0;
            let (created, removed) = thread::scope(|scope| {
                let create = scope.spawn(|| ask(&socket, "POST", &format!("/containers/create?name={name}"), Some(&body)));
                thread::sleep(Duration::from_micros(300 * (round as u64 % 10)));
                let removed = match prunes {
                    true => ask(&socket, "POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D", None),
                    false => ask(&socket, "DELETE", target, None),
                };
                (create.join().unwrap(), removed)
            });
            assert!(matches!(removed.status, 200 | 409), "{}", removed.text());
            match created.status {
                201 => {
                    made += 1;
                    let found = ask(&case.engine.socket(), "GET", &format!("/images/{}/json", image.id()), None);
                    assert_eq!(found.status, 200, "round {round}: {} {}", removed.text(), found.text());
                    let _ = case.docker(["rm", &name]).text();
                }
                404 => {
                    gone += 1;
                    assert_eq!(created.message(), "No such image: raced:1");
                }
                other => panic!("{other}: {}", created.text()),
            }
            let _ = case.docker(["rmi", "-f", "raced:1"]).run();
        }
        println!("{made} made, {gone} gone");
        assert!(made > 0 && gone > 0, "{made} made, {gone} gone");
    }

    /// `rm -f` while it starts: it is gone, whoever was first.
    fn force_remove_during_start(case) {
        for pause in [0, 5, 20, 60, 200, 700] {
            sleeper(case);
            thread::scope(|scope| {
                let start = scope.spawn(|| post(case, "/containers/box/start"));
                thread::sleep(Duration::from_millis(pause));
                let begin = Instant::now();
                let removed = ask(&case.engine.socket(), "DELETE", "/containers/box?force=1", None);
                assert_eq!(removed.status, 204, "{}", removed.text());
                assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
                let started = start.join().unwrap();
                assert!([204, 404, 409].contains(&started.status), "{} {}", started.status, started.text());
            });
            none_is_left(case);
        }
    }

    /// `stop`, `kill`, `pause` and a plain `rm` during a start wait for it.
    fn other_verbs_during_start(case) {
        for deadly in ["stop?t=1", "kill"] {
            let (started, answer) = during_start(case, "POST", &format!("/containers/box/{deadly}"));
            assert_eq!(answer.status, 204, "{}", answer.text());
            let standing = case.inspect("box", "{{.State.Status}} {{.State.ExitCode}}");
            match started {
                204 => assert_eq!(standing, "exited 137"),
                // A boot on a busy machine, cut off.
                409 if case.wall == Wall::Hyperv => assert_eq!(standing, "created 128"),
                other => panic!("{deadly}: the start answered {other}"),
            }
        }
        let (_, paused) = during_start(case, "POST", "/containers/box/pause");
        assert_eq!(paused.status, 204, "{}", paused.text());
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "paused");
        let (_, removed) = during_start(case, "DELETE", "/containers/box");
        let text = "cannot remove container \"/box\": container is running: stop the container before removing or force remove";
        assert_eq!((removed.status, removed.message().as_str()), (409, text));
    }

    fn stop_during_exec(case) {
        case.idle("box");
        let mut exec = case.docker(["exec", "box", "sh", "-c", "echo begun; sleep 1000"]).start();
        exec.expect("begun");
        assert_eq!(case.docker(["stop", "box"]).text(), "box");
        let output = exec.runs().then(|| exec.end());
        assert!(output.is_none_or(|output| output.code == 137), "the exec ends with its container");
        case.docker(["exec", "box", "true"]).run().fails(1, "is not running");
    }

    /// A kill does not wait for the stop's patience to end, and both are content.
    fn kill_during_stop(case) {
        case.daemon("box", &["busybox", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]);
        wait_until(MINUTE, "the trap", || case.docker(["logs", "box"]).text() == "deaf");
        let begin = Instant::now();
        let stop = case.docker(["stop", "-t", "60", "box"]).start();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(case.docker(["kill", "box"]).text(), "box");
        assert_eq!(stop.end().ok(), "box");
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        assert_eq!(case.inspect("box", "{{.State.ExitCode}}"), "137");
    }

    fn wait_before_start(case) {
        let _ = case.walled("create", &["--name", "box", "busybox", "sh", "-c", "sleep 1; exit 6"]).text();
        thread::scope(|scope| {
            let next = scope.spawn(|| post(case, "/containers/box/wait?condition=next-exit").json());
            thread::sleep(Duration::from_millis(500));
            // Neither the start nor anything else is held up by who waits.
            assert_eq!(post(case, "/containers/box/start").status, 204);
            assert_eq!(next.join().unwrap()["StatusCode"], 6);
        });
    }

    /// Each of many removals at once is content or is told that one is under way.
    fn many_removals(case) {
        case.idle("box");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let remove = || ask(&case.engine.socket(), "DELETE", "/containers/box?force=1", None);
            let all: Vec<_> = (0..6).map(|_| scope.spawn(remove)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(answers.iter().any(|answer| answer.status == 204));
        for answer in answers {
            match answer.status {
                204 | 404 => {}
                409 => assert_eq!(answer.message(), "removal of container box is already in progress"),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        none_is_left(case);
    }

    /// Every verb at once on one container, for a while: nothing hangs, and what
    /// is shown in the end is true.
    fn a_storm_on_one_container(case) {
        let _ = case.walled("create", &["--name", "box", "--restart", "on-failure", "busybox", "sh", "-c", "sleep 1; exit 1"]).text();
        let until = Instant::now() + Duration::from_secs(15);
        let verbs = ["start", "stop?t=0", "kill", "pause", "unpause", "restart?t=0", "kill?signal=HUP"];
        thread::scope(|scope| {
            for verb in verbs {
                scope.spawn(move || {
                    while Instant::now() < until {
                        let answer = post(case, &format!("/containers/box/{verb}"));
                        let expected = matches!(answer.status, 204 | 304 | 409)
                            || (verb == "unpause" && answer.message().contains("is not paused"))
                            // It may end between the look at it and the act.
                            || answer.message().contains("not running");
                        assert!(expected, "{verb}: {} {}", answer.status, answer.text());
                        thread::sleep(Duration::from_millis(30));
                    }
                });
            }
        });
        let _ = case.docker(["stop", "-t", "0", "box"]).text();
        assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.Pid}}"), "exited 0");
        assert_eq!(post(case, "/containers/box/start").status, 204);
        assert_eq!(case.inspect("box", "{{.State.Status}}"), "running");
        let _ = case.docker(["rm", "-f", "box"]).text();
        none_is_left(case);
    }

    /// A container that is being killed is not frozen before it is dead: its end
    /// would never come.
    fn pause_after_kill(case) {
        let _ = case.walled("create", &["--name", "box", "busybox", "sleep", "1000"]).text();
        let rounds = if case.wall == Wall::Process { 60 } else { 5 };
        for round in 0..rounds {
            assert_eq!(post(case, "/containers/box/start").status, 204);
            let (killed, paused) = thread::scope(|scope| {
                let kill = scope.spawn(|| post(case, "/containers/box/kill"));
                let pause = scope.spawn(move || {
                    thread::sleep(Duration::from_micros(200 * (round % 20)));
                    post(case, "/containers/box/pause")
                });
                (kill.join().unwrap(), pause.join().unwrap())
            });
            assert!(matches!(paused.status, 204 | 409), "{}", paused.text());
            assert_eq!(killed.status, 204, "round {round}, pause {}: {}", paused.status, killed.text());
            assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        }
        let _ = case.docker(["rm", "box"]).text();
    }
}

/// What a client of the load does: everything from nothing to nothing, and at
/// each step what it made is there, and is its own.
fn one_life(case: &Case, name: &str, lost: &Mutex<Vec<String>>) {
    let socket = case.engine.socket();
    let complain = |step: &str, answer: &Answer| {
        lost.lock().unwrap().push(format!("{name}: {step}: {} {}", answer.status, answer.text()));
    };
    let body = json!({
        "Image": "busybox", "Cmd": ["sh", "-c", format!("echo {name}; exit 7")], "Labels": {"client": name},
        "HostConfig": {"Isolation": isolation(case), "NetworkMode": "none", "Memory": 64 << 20, "PidsLimit": 32},
    });
    let created = ask(&socket, "POST", &format!("/containers/create?name={name}"), Some(&body));
    if created.status != 201 {
        return complain("create", &created);
    }
    let id = created.json()["Id"].as_str().unwrap().to_owned();
    let steps = [
        ("start", ask(&socket, "POST", &format!("/containers/{id}/start"), None), 204),
        ("inspect", ask(&socket, "GET", &format!("/containers/{name}/json"), None), 200),
        ("wait", ask(&socket, "POST", &format!("/containers/{id}/wait"), None), 200),
    ];
    for (step, answer, status) in &steps {
        if answer.status != *status {
            complain(step, answer);
        }
    }
    if steps[1].1.json()["Id"] != id.as_str() || steps[2].1.json()["StatusCode"] != 7 {
        complain("what it is", &steps[1].1);
    }
    let logs = ask(&socket, "GET", &format!("/containers/{id}/logs?stdout=1"), None);
    if !logs.text().ends_with(&format!("{name}\n")) {
        complain("logs", &logs);
    }
    let removed = ask(&socket, "DELETE", &format!("/containers/{id}"), None);
    if removed.status != 204 {
        complain("remove", &removed);
    }
    let again = ask(&socket, "GET", &format!("/containers/{id}/json"), None);
    if again.status != 404 {
        complain("is still there", &again);
    }
}

fn load(case: &Case, clients: usize) {
    // A minute where somebody asks for it; enough for CI without.
    let seconds = env::var("HAKO_TEST_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    assert_eq!(case.sh(&[], "echo warm").text(), "warm");
    let before = case.engine.traces();
    let until = Instant::now() + Duration::from_secs(seconds);
    let (lives, lost) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for client in 0..clients {
            let (lives, lost) = (&lives, &lost);
            scope.spawn(move || {
                let mut round = 0;
                while Instant::now() < until {
                    one_life(case, &format!("c{client}-{round}"), lost);
                    lives.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                }
            });
        }
    });
    let lost = lost.into_inner().unwrap();
    assert!(lost.is_empty(), "{} of {lives:?} went wrong:\n{}", lost.len(), lost.join("\n"));
    let lives = lives.into_inner();
    assert!(lives >= clients, "{lives} containers by {clients} clients");
    none_is_left(case);
    if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
        return;
    }
    wait_until(MINUTE, "nothing to be left of them", || {
        let mut left = case.engine.traces().since(&before);
        left.ignore_durable(&case.engine.data_root());
        left.is_empty()
    });
    eprintln!("{lives} containers by {clients} clients in {seconds} s");
}

/// 50 clients at once create, start, inspect and remove containers.
#[test]
fn fifty_clients() {
    with_wall(Wall::Process, |case| load(case, 50));
}

/// Behind the other wall each container boots a machine of its own, which takes
/// a processor for half a second or more where it is emulated, and 100 MiB.
/// Eight at once keep two processors busy and fit into a small host; with 50
/// each boot would take as long as a client's patience lasts.
#[test]
fn eight_clients_of_machines() {
    with_wall(Wall::Hyperv, |case| load(case, 8));
}

/// The engine is killed in the midst of a load: what it answered is true after.
#[test]
fn killed_under_load() {
    if hako_tests::not_on_reference("the engine itself is ended and started again") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let removed = Mutex::new(BTreeSet::new());
        for round in 0..4_u64 {
            thread::scope(|scope| {
                for client in 0..10 {
                    let removed = &removed;
                    scope.spawn(move || half_a_life(case, &format!("r{round}-{client}"), removed));
                }
                thread::sleep(Duration::from_millis(200 + 150 * round));
                case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
            });
            case.engine.launch();
            let there = case.docker(["ps", "-aq", "--no-trunc"]).text();
            let there: BTreeSet<String> = there.lines().map(str::to_owned).collect();
            let back: Vec<_> = removed.lock().unwrap().intersection(&there).cloned().collect();
            assert!(back.is_empty(), "removed and there again: {back:?}");
            assert_eq!(case.sh(&[], "echo works").text(), "works");
        }
        let ids = case.docker(["ps", "-aq"]).text();
        let _ = case.docker(["rm", "-f"]).args(ids.lines()).run();
        none_is_left(case);
    });
}

/// Lives until the engine does not answer any more.
fn half_a_life(case: &Case, name: &str, removed: &Mutex<BTreeSet<String>>) {
    let docker = |args: &[&str]| case.docker(args).run();
    for round in 0..100 {
        let name = format!("{name}-{round}");
        let created = case.walled("create", &["--name", &name, "busybox", "sleep", "0.2"]).run();
        if created.code != 0 {
            return;
        }
        let _ = docker(&["start", &name]);
        if docker(&["rm", "-f", &name]).code == 0 {
            removed.lock().unwrap().insert(created.out());
        }
    }
}

/// A machine that never comes up does not keep its container from being killed
/// or removed, nor the engine from anything else.
#[test]
fn a_boot_that_hangs_is_cut_off() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    let path = tempfile::tempdir().unwrap();
    let qemu = path.path().join("qemu-system-x86_64");
    std::fs::write(&qemu, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&qemu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", path.path().display(), env::var("PATH").unwrap());
    let args = ["--exec-opt", "accelerator=tcg"].map(str::to_owned).to_vec();
    let engine = Engine::with(Options { env: vec![("PATH".to_owned(), path)], args, ..Options::default() });
    engine.load(&busybox());
    let case = Case::new(engine, Wall::Hyperv);
    for (method, target) in [("POST", "kill"), ("POST", "stop?t=1"), ("DELETE", "?force=1")] {
        sleeper(&case);
        thread::scope(|scope| {
            let start = scope.spawn(|| post(&case, "/containers/box/start"));
            thread::sleep(Duration::from_secs(3));
            let begin = Instant::now();
            let target = format!("/containers/box/{target}").replace("/?", "?");
            let answer = ask(&case.engine.socket(), method, &target, None);
            assert_eq!(answer.status, 204, "{target}: {}", answer.text());
            assert!(begin.elapsed() < Duration::from_secs(15), "{target}: {:?}", begin.elapsed());
            let started = start.join().unwrap();
            assert_eq!(started.status, 409, "{}", started.text());
            assert_eq!(started.message(), "the container was killed while it was being started");
        });
        if method == "POST" {
            assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.Pid}}"), "created 0");
            let _ = case.docker(["rm", "box"]).text();
        }
        none_is_left(&case);
    }
    case.engine.finish();
}
