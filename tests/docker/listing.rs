//! `ps` with every filter, `prune`, `rename`, and `wait` with every condition.

use hako_tests::{Case, Engine, Wall, both_walls, wait_until, with_wall};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// The names of `docker ps <args>`, in their order.
fn names(case: &Case, args: &[&str]) -> String {
    case.docker(["ps", "--format", "{{.Names}}"]).args(args).text().lines().collect::<Vec<_>>().join(" ")
}

both_walls! {
    fn every_filter(case) {
        if hako_tests::not_on_reference("annotations are of API 1.43") || hako_tests::client_before(24, "it has no --annotation") {
            return;
        }
        let create = |name: &str, flags: &[&str]| {
            let _ = case.walled("create", &["--name", name]).args(flags).args(["busybox", "sleep", "1000"]).text();
        };
        create("one", &["--label", "team=a", "--label", "tier=x", "--expose", "80", "--tmpfs", "/scratch"]);
        create("two", &["--label", "team=b", "--annotation", "note=yes"]);
        case.daemon("three", &["--label", "team=a", "--expose", "8000-8002/udp", "busybox", "sleep", "1000"]);
        case.daemon("four", &["busybox", "sh", "-c", "exit 4"]);
        case.wait_for("four", "exited");
        let ps = |filters: &[&str]| {
            let flags: Vec<&str> = filters.iter().flat_map(|filter| ["-f", filter]).collect();
            names(case, &[&["-a"], &flags[..]].concat())
        };
        assert_eq!(ps(&[]), "four three two one", "the newest first");
        assert_eq!(names(case, &[]), "three");
        assert_eq!(names(case, &["-n", "2"]), "four three");
        assert_eq!(names(case, &["-l"]), "four");
        assert_eq!((ps(&["name=o"]), ps(&["name=^t"]), ps(&["name=^/one$"]), ps(&["name=["])), ("four two one".into(), "three two".into(), "one".into(), String::new()));
        assert_eq!((ps(&["label=team=a"]), ps(&["label=team=a", "label=tier"])), ("three one".into(), "one".into()));
        assert_eq!(ps(&["annotation=note=yes"]), "two");
        assert_eq!((ps(&["status=created"]), ps(&["status=created", "status=exited"])), ("two one".into(), "four two one".into()));
        assert_eq!(names(case, &["-f", "status=exited"]), "four", "a status shows all");
        assert_eq!((ps(&["exited=4"]), ps(&["exited=0"]), names(case, &["-f", "exited=4"])), ("four".into(), String::new(), String::new()));
        assert_eq!((ps(&["before=three"]), ps(&["since=two"])), ("two one".into(), "four three".into()));
        assert_eq!((ps(&["ancestor=busybox"]), ps(&["ancestor=nothing"])), ("four three two one".into(), String::new()));
        let id = case.inspect("two", "{{.Id}}");
        assert_eq!((ps(&[&format!("id={id}")]), ps(&[&format!("id={}", &id[..12])])), ("two".into(), "two".into()));
        assert_eq!((ps(&["network=none"]), ps(&["network=bridge"])), ("four three two one".into(), String::new()));
        assert_eq!((ps(&["expose=8001/udp"]), ps(&["expose=8000-8010/udp"]), ps(&["expose=8001"])), ("three".into(), "three".into(), String::new()));
        assert_eq!(ps(&["publish=80"]), "");
        assert_eq!((ps(&["is-task=false"]), ps(&["is-task=true"])), ("four three two one".into(), String::new()));
        assert_eq!(ps(&["health=none"]), "four three two one");
        if !Engine::is_reference() {
            let wall = case.wall.to_string();
            let other = if wall == "process" { "hyperv" } else { "process" };
            assert_eq!(ps(&[&format!("isolation={wall}")]), "four three two one");
            assert_eq!(ps(&[&format!("isolation={other}")]), "");
        }
        let sizes = case.docker(["ps", "-as", "--format", "{{.Size}}"]).text();
        assert!(sizes.lines().all(|size| size.contains("(virtual ")), "{sizes}");
    }

    fn prune(case) {
        let create = |name: &str, flags: &[&str]| {
            let _ = case.walled("create", &["--name", name]).args(flags).args(["busybox", "true"]).text();
        };
        let prune = |filters: &[&str]| {
            let flags: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
            case.docker(["container", "prune", "-f"]).args(flags).text()
        };
        case.idle("runs");
        case.daemon("paused", &["busybox", "sleep", "1000"]);
        let _ = case.docker(["pause", "paused"]).text();
        case.daemon("wrote", &["busybox", "sh", "-c", "head -c 3000000 /dev/urandom > /file"]);
        case.wait_for("wrote", "exited");
        create("aa", &["--label", "keep=1"]);
        create("bb", &["--label", "keep=2"]);
        assert!(prune(&["until=1h"]).contains("Total reclaimed space: 0B"));
        assert!(prune(&["label=nobody-has-it"]).contains("Total reclaimed space: 0B"));
        assert_eq!(names(case, &["-a"]), "bb aa wrote paused runs");
        let _ = prune(&["label=keep=2"]);
        assert_eq!(names(case, &["-a"]), "aa wrote paused runs");
        let said = prune(&["label!=keep"]);
        assert!(said.starts_with("Deleted Containers:\n") && said.contains("MB"), "{said}");
        assert_eq!(names(case, &["-a"]), "aa paused runs");
        let _ = prune(&[]);
        assert_eq!(names(case, &["-a"]), "paused runs");
        let answer = case.engine.http("POST", "/v1.41/containers/prune", None);
        assert_eq!(answer.json(), json!({"ContainersDeleted": null, "SpaceReclaimed": 0}));
        let _ = case.docker(["unpause", "paused"]).text();
    }

    fn rename(case) {
        case.idle("old");
        let _ = case.walled("create", &["--name", "taken", "busybox"]).text();
        let id = case.inspect("taken", "{{.Id}}");
        let _ = case.docker(["rename", "old", "new"]).text();
        assert_eq!(case.inspect("new", "{{.Name}} {{.State.Status}}"), "/new running");
        case.docker(["inspect", "old"]).run().fails(1, "No such object: old");
        case.docker(["rename", "new", "new"]).run().fails(1, "Renaming a container with the same name as its current name");
        case.docker(["rename", "new", "taken"]).run().fails(1, &format!(
            "Error when allocating new name: Conflict. The container name \"/taken\" is already in use by container \"{id}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        ));
        case.docker(["rename", "new", "not ok"]).run().fails(1, "Error when allocating new name: Invalid container name (/not ok)");
        case.docker(["rename", "nobody", "x"]).run().fails(1, "No such container: nobody");
        let empty = case.engine.http("POST", "/v1.41/containers/new/rename?name=", None);
        assert_eq!((empty.status, empty.message().as_str()), (400, "Neither old nor new names may be empty"));
        // The old name is free.
        let _ = case.walled("create", &["--name", "old", "busybox"]).text();
        if !Engine::is_reference() {
            case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
            case.engine.launch();
            assert_eq!(names(case, &["-a"]), "old taken new");
        }
    }

    fn wait_for_every_condition(case) {
        let wait = |name: &str, condition: &str| {
            let target = format!("/v1.41/containers/{name}/wait?condition={condition}");
            case.engine.http("POST", &target, None)
        };
        let bad = wait("box", "tomorrow");
        assert_eq!((bad.status, bad.message().as_str()), (400, "invalid condition: \"tomorrow\""));
        // One that never ran does not run.
        let _ = case.walled("create", &["--name", "box", "busybox", "sh", "-c", "sleep 1; exit 9"]).text();
        assert_eq!(wait("box", "not-running").json()["StatusCode"], 0);
        thread::scope(|scope| {
            // Before the start: the next exit is yet to come.
            let next = scope.spawn(|| wait("box", "next-exit").json());
            let removed = scope.spawn(|| wait("box", "removed").json());
            thread::sleep(Duration::from_millis(500));
            let _ = case.docker(["start", "box"]).text();
            let stopped = scope.spawn(|| wait("box", "").json());
            assert_eq!(next.join().unwrap()["StatusCode"], 9);
            assert_eq!(stopped.join().unwrap()["StatusCode"], 9);
            assert!(!removed.is_finished());
            let _ = case.docker(["rm", "box"]).text();
            assert_eq!(removed.join().unwrap()["StatusCode"], 9);
        });
        // Removed by force while somebody waits, whatever for.
        case.daemon("box", &["busybox", "sleep", "1000"]);
        thread::scope(|scope| {
            let waiting = ["not-running", "next-exit", "removed"].map(|condition| scope.spawn(move || wait("box", condition).json()));
            thread::sleep(Duration::from_millis(500));
            let _ = case.docker(["rm", "-f", "box"]).text();
            for answer in waiting {
                assert_eq!(answer.join().unwrap()["StatusCode"], 137);
            }
        });
        // `--rm` answers with the code, too.
        assert_eq!(case.run(&["busybox", "sh", "-c", "exit 12"]).run().code, 12);
        // An older client reads a null.
        case.daemon("box", &["busybox", "true"]);
        let old = case.engine.http("POST", "/v1.41/containers/box/wait", None);
        assert_eq!(old.json(), json!({"Error": null, "StatusCode": 0}));
    }
}

#[test]
fn what_is_no_filter() {
    if hako_tests::not_on_reference("its texts are a newer dockerd's") {
        return;
    }
    with_wall(Wall::Process, |case| {
        let refused = |path: &str, filters: Value| {
            let filters = filters.to_string().replace('"', "%22").replace(' ', "%20");
            let method = if path.ends_with("prune") { "POST" } else { "GET" };
            let answer = case.engine.http(method, &format!("/v1.41{path}?filters={filters}"), None);
            assert!((400..500).contains(&answer.status), "{}", answer.text());
            answer.message()
        };
        let list = |filters: Value| refused("/containers/json", filters);
        assert_eq!(list(json!({"no-such": ["x"]})), "invalid filter 'no-such'");
        assert_eq!(list(json!({"label!": ["x"]})), "invalid filter 'label!'");
        assert_eq!(
            list(json!({"status": ["fine"]})),
            "invalid filter 'status=fine': invalid value for state (fine): must be one of created, running, paused, restarting, removing, exited, dead"
        );
        assert_eq!(
            list(json!({"exited": ["x"]})),
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(list(json!({"is-task": ["maybe"]})), "invalid filter 'is-task=maybe'");
        assert_eq!(list(json!({"before": ["nobody"]})), "No such container: nobody");
        assert_eq!(list(json!({"publish": ["1:2"]})), "filter for 'publish' should not contain ':': 1:2");
        let prune = |filters: Value| refused("/containers/prune", filters);
        assert_eq!(prune(json!({"name": ["x"]})), "invalid filter 'name'");
        assert_eq!(prune(json!({"until": ["1h", "2h"]})), "more than one until filter specified");
        assert!(prune(json!({"until": ["soon"]})).starts_with("invalid value for 'until' filter"));
    });
}

/// A container whose folder cannot be removed is dead, and can be removed later.
#[test]
fn dead() {
    if hako_tests::not_on_reference("it looks at the engine's own files and processes") {
        return;
    }
    with_wall(Wall::Process, |case| {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let id = case.walled("create", &["--name", "box", "busybox"]).text();
        let busy = case.engine.data_root().join("containers").join(&id).join("busy");
        std::fs::create_dir(&busy).unwrap();
        mount(Some("tmpfs"), &busy, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let text = format!("unable to remove filesystem for {id}: ");
        case.docker(["rm", "box"]).run().fails(1, &text);
        let dead = || {
            assert_eq!(case.inspect("box", "{{.State.Status}} {{.State.Dead}} {{.State.Running}}"), "dead true false");
            assert!(case.inspect("box", "{{.State.Error}}").starts_with(&text));
            assert_eq!(names(case, &["-af", "status=dead"]), "box");
            assert_eq!(case.docker(["ps", "-a", "--format", "{{.Status}}"]).text(), "Dead");
        };
        dead();
        case.docker(["start", "box"]).run().fails(1, "container is marked for removal and cannot be started");
        case.docker(["rename", "box", "other"]).run().fails(1, "container is marked for removal");
        let waited = case.engine.http("POST", "/v1.41/containers/box/wait?condition=removed", None).json();
        assert!(waited["Error"]["Message"].as_str().unwrap().starts_with(&text), "{waited}");
        // The engine tries again when it comes back, and then it is still so.
        case.engine.end_by(nix::sys::signal::Signal::SIGKILL);
        case.engine.launch();
        dead();
        umount2(&busy, MntFlags::MNT_DETACH).unwrap();
        let _ = case.docker(["rm", "box"]).text();
        assert_eq!(names(case, &["-a"]), "");
    });
}

/// Of two prunes at once one is refused, and nothing is removed twice.
#[test]
fn one_prune_at_a_time() {
    with_wall(Wall::Process, |case| {
        for _ in 0..30 {
            let _ = case.walled("create", &["busybox"]).text();
        }
        let answers: Vec<_> = thread::scope(|scope| {
            let prune = || case.engine.http("POST", "/v1.41/containers/prune", None);
            let all: Vec<_> = (0..6).map(|_| scope.spawn(prune)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let mut deleted = 0;
        for answer in &answers {
            match answer.status {
                200 => deleted += answer.json()["ContainersDeleted"].as_array().map_or(0, Vec::len),
                409 => assert_eq!(answer.message(), "a prune operation is already running"),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert_eq!(deleted, 30);
        let begin = Instant::now();
        wait_until(MINUTE, "none to be left", || case.docker(["ps", "-aq"]).text().is_empty());
        assert!(begin.elapsed() < MINUTE);
    });
}
