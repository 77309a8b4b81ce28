//! A container's life: create, start, stop, restart, remove.

use hako_tests::both_walls;
use std::time::{Duration, Instant};

both_walls! {
    fn create_start_stop_start_remove(case) {
        let id = case.walled("create", &["--name", "box", "busybox", "sh", "-c", "echo $RANDOM >> /count; cat /count | wc -l; trap 'exit 0' TERM; while :; do sleep 0.1; done"]).text();
        assert_eq!(id.len(), 64);
        let row = || case.docker(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"]).text();
        assert_eq!(row(), format!("{id} box busybox created"));
        assert_eq!(case.docker(["start", "box"]).text(), "box");
        assert_eq!(row(), format!("{id} box busybox running"));
        assert_eq!(case.docker(["ps", "-q", "--no-trunc"]).text(), id);
        let logs = |lines: usize| {
            hako_tests::wait_until(Duration::from_secs(60), "the log", || {
                case.docker(["logs", "box"]).text().lines().count() == lines
            });
        };
        logs(1);
        assert_eq!(case.docker(["stop", "box"]).text(), "box");
        assert_eq!(row(), format!("{id} box busybox exited"));
        assert_eq!(case.inspect("box", "{{.State.ExitCode}} {{.State.Pid}}"), "0 0");
        assert_eq!(case.docker(["ps", "-q"]).text(), "");
        // What it wrote is there when it starts again.
        let _ = case.docker(["start", "box"]).text();
        logs(2);
        let _ = case.docker(["restart", "-t", "10", "box"]).text();
        logs(3);
        assert_eq!(case.docker(["logs", "box"]).text(), "1\n2\n3");
        let refused = if hako_tests::Engine::is_reference() { "running container" } else { "container is running" };
        case.docker(["rm", "box"]).run().fails(1, refused);
        assert_eq!(case.docker(["rm", "-f", "box"]).text(), "box");
        assert_eq!(row(), "");
        case.docker(["start", "box"]).run().fails(1, "No such container: box");
    }

    fn stop_waits_and_kills(case) {
        case.daemon("deaf", &["busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
        let begin = Instant::now();
        let _ = case.docker(["stop", "-t", "3", "deaf"]).text();
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(20), "{took:?}");
        assert_eq!(case.inspect("deaf", "{{.State.ExitCode}}"), "137");
        case.daemon("polite", &["busybox", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"]);
        hako_tests::wait_until(Duration::from_secs(60), "the trap", || case.docker(["logs", "polite"]).text() == "up");
        let begin = Instant::now();
        let _ = case.docker(["stop", "-t", "60", "polite"]).text();
        assert!(begin.elapsed() < Duration::from_secs(30), "a polite container is not waited for");
        assert_eq!(case.inspect("polite", "{{.State.ExitCode}}"), "3");
        assert_eq!(case.docker(["logs", "polite"]).text(), "up\nbye");
    }

    fn stop_signal(case) {
        let script = "trap 'exit 11' USR2; trap 'exit 12' TERM; echo up; while :; do sleep 0.1; done";
        case.daemon("box", &["--stop-signal", "USR2", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(Duration::from_secs(60), "the trap", || case.docker(["logs", "box"]).text() == "up");
        let _ = case.docker(["stop", "-t", "30", "box"]).text();
        assert_eq!(case.inspect("box", "{{.State.ExitCode}}"), "11");
    }

    fn a_taken_name(case) {
        case.idle("taken");
        let id = case.inspect("taken", "{{.Id}}");
        let output = case.walled("create", &["--name", "taken", "busybox"]).run();
        output.fails(1, &format!("Conflict. The container name \"/taken\" is already in use by container \"{id}\""));
        let output = case.walled("run", &["--name", "taken", "busybox", "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        assert_eq!(case.docker(["ps", "-a", "--format", "{{.Names}}"]).text(), "taken");
        assert_eq!(case.exec("taken", "echo alive").ok(), "alive");
    }

    fn a_bad_name(case) {
        let output = case.walled("create", &["--name", "not ok", "busybox"]).run();
        output.fails(1, "Invalid container name (not ok), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }

    fn short_ids_and_names_are_the_same_container(case) {
        case.idle("box");
        let id = case.inspect("box", "{{.Id}}");
        for word in ["box", "/box", &id, &id[..12], &id[..6]] {
            assert_eq!(case.inspect(word, "{{.Id}}"), id);
        }
        case.docker(["inspect", "nothing-like-it"]).run().fails(1, "nothing-like-it");
    }

    fn remove_at_end(case) {
        let id = case.walled("run", &["-d", "--rm", "busybox", "sleep", "0.5"]).text();
        hako_tests::wait_until(Duration::from_secs(60), "the container to be removed", || {
            case.docker(["inspect", &id]).run().code != 0
        });
    }

    fn ps_filters(case) {
        case.daemon("one", &["--label", "team=a", "busybox", "sleep", "1000"]);
        let _ = case.walled("create", &["--name", "two", "--label", "team=b", "busybox"]).text();
        let ps = |filter: &str| {
            let mut names: Vec<String> = case.docker(["ps", "-a", "--format", "{{.Names}}", "-f", filter]).text().lines().map(str::to_owned).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(ps("name=on"), "one");
        assert_eq!(ps("label=team"), "one two");
        assert_eq!(ps("label=team=b"), "two");
        assert_eq!(ps("status=running"), "one");
        assert_eq!(ps("status=created"), "two");
        assert_eq!(ps("ancestor=busybox"), "one two");
        let refused = case.docker(["ps", "-f", "no-such-filter=x"]).run();
        assert_ne!(refused.code, 0, "{refused}");
    }

    fn wait_reports_the_code(case) {
        case.daemon("box", &["-i", "busybox", "sh", "-c", "read x; exit 23"]);
        let waiter = case.docker(["wait", "box"]).start();
        std::thread::sleep(Duration::from_millis(300));
        let mut typist = case.docker(["attach", "box"]).start();
        std::thread::sleep(Duration::from_millis(300));
        typist.send("\n");
        assert_eq!(typist.end().code, 23);
        assert_eq!(waiter.end().ok(), "23");
        assert_eq!(case.docker(["wait", "box"]).text(), "23");
    }

    fn wrong_states_are_refused(case) {
        let _ = case.walled("create", &["--name", "box", "busybox", "true"]).text();
        case.docker(["kill", "box"]).run().fails(1, "is not running");
        assert_eq!(case.docker(["stop", "box"]).text(), "box");
        let _ = case.docker(["start", "-a", "box"]).text();
        case.docker(["kill", "box"]).run().fails(1, "is not running");
        case.docker(["kill", "nobody"]).run().fails(1, "No such container: nobody");
        let _ = case.docker(["rm", "box"]).text();
        case.docker(["rm", "box"]).run().fails(1, "No such container: box");
    }

    fn events(case) {
        let since = case.docker(["version", "--format", "{{.Server.Version}}"]).text();
        assert!(!since.is_empty());
        let follower = case.docker(["events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"]).start();
        std::thread::sleep(Duration::from_millis(500));
        let _ = case.walled("run", &["--rm", "--name", "seen", "busybox", "true"]).text();
        follower.expect("container destroy seen");
        let seen = follower.kill().out();
        let mine: Vec<&str> = seen.lines().filter(|l| l.starts_with("container ") && l.ends_with(" seen")).collect();
        let expected = ["create", "attach", "start", "die", "destroy"].map(|verb| format!("container {verb} seen"));
        assert_eq!(mine, expected, "{seen}");
    }
}
