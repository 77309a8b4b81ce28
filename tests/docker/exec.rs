//! `docker exec`.

use hako_tests::both_walls;

both_walls! {
    fn runs_beside_the_first_process(case) {
        case.idle("box");
        let output = case.exec("box", "echo out; echo err >&2; exit 4");
        assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (4, "out", "err"));
        // The same namespaces and root filesystem, also for what is written.
        let _ = case.exec("box", "echo one > /tmp/file").ok();
        assert_eq!(case.exec("box", "cat /tmp/file; hostname").ok(), format!("one\n{}", &case.inspect("box", "{{.Id}}")[..12]));
        assert!(case.exec("box", "ps -o pid,args").ok().contains("1 sh -c trap"));
    }

    fn flags(case) {
        case.daemon("box", &["-e", "OF_RUN=1", "busybox", "sleep", "1000"]);
        let exec = |flags: &[&str], script: &str| {
            case.docker(["exec"]).args(flags).args(["box", "sh", "-c", script]).text()
        };
        assert_eq!(exec(&["-e", "OF_EXEC=2"], "echo $OF_RUN $OF_EXEC"), "1 2");
        assert_eq!(exec(&["-w", "/usr"], "pwd"), "/usr");
        assert_eq!(exec(&["-u", "someone"], "id -un; id -G; echo $HOME"), "someone\n1000 2000\n/home/someone");
        assert_eq!(exec(&["-u", "5:6"], "id -u; id -g"), "5\n6");
    }

    fn stdin(case) {
        case.idle("box");
        let output = case.docker(["exec", "-i", "box", "cat"]).stdin("through exec").text();
        assert_eq!(output, "through exec");
        let output = case.docker(["exec", "box", "wc", "-c"]).stdin("not for you").text();
        assert_eq!(output.trim(), "0");
    }

    fn detached(case) {
        case.idle("box");
        let _ = case.docker(["exec", "-d", "box", "sh", "-c", "sleep 0.2; echo done > /tmp/flag"]).text();
        hako_tests::wait_until(std::time::Duration::from_secs(30), "the detached exec", || {
            case.exec("box", "cat /tmp/flag").out() == "done"
        });
    }

    fn what_cannot_run(case) {
        case.idle("box");
        let exec = |command: &str| case.docker(["exec", "box", command]).run();
        let missing = exec("no-such-command");
        // Docker before 24 said 126 here, as its last release of Debian 12 does.
        assert_eq!(missing.code, if hako_tests::Engine::is_reference() { 126 } else { 127 }, "{missing}");
        let text = format!("{}{}", missing.out(), missing.err());
        assert!(text.contains("exec: \"no-such-command\": executable file not found in $PATH"), "{missing}");
        let denied = exec("/etc/passwd");
        assert_eq!(denied.code, 126, "{denied}");
        case.docker(["exec", "-u", "no-such-user", "box", "true"]).run().fails(126, "");
        case.docker(["exec", "no-such-container", "true"]).run().fails(1, "No such container: no-such-container");
        assert_eq!(case.exec("box", "echo fine").ok(), "fine");
    }

    /// A process that joins counts, as one that is made in the container.
    fn not_beyond_the_limit_of_processes(case) {
        let script = "sleep 1000 & sleep 1000 & wait";
        case.daemon("box", &["--pids-limit", "3", "busybox", "sh", "-c", script]);
        hako_tests::wait_until(std::time::Duration::from_secs(30), "three processes", || {
            case.docker(["top", "box"]).text().matches("sleep 1000").count() >= 4
        });
        let refused = case.exec("box", "echo in");
        assert!(refused.code != 0 && refused.out() != "in", "{refused}");
        if !hako_tests::Engine::is_reference() {
            let text = format!("{}{}", refused.out(), refused.err());
            assert!(text.contains("as many processes as its pids limit allows"), "{refused}");
        }
        let _ = case.docker(["update", "--pids-limit", "8", "box"]).text();
        assert_eq!(case.exec("box", "echo in").ok(), "in");
    }

    fn not_in_a_stopped_container(case) {
        let _ = case.walled("run", &["--name", "box", "busybox", "true"]).text();
        let output = case.docker(["exec", "box", "true"]).run();
        assert_eq!(output.code, 1, "{output}");
        assert!(output.err().contains("is not running"), "{output}");
    }

    fn not_in_a_paused_container(case) {
        case.idle("box");
        let _ = case.docker(["pause", "box"]).text();
        case.docker(["exec", "box", "true"]).run().fails(1, "is paused, unpause the container before exec");
        let _ = case.docker(["unpause", "box"]).text();
        assert_eq!(case.exec("box", "echo well").ok(), "well");
    }

    /// `--privileged` is for this process alone, whatever the container has.
    fn privileged(case) {
        if hako_tests::not_on_reference("runc gives no privileges where the host lacks a capability") {
            return;
        }
        case.daemon("box", &["--cap-drop=ALL", "busybox", "sleep", "1000"]);
        let caps = |flags: &[&str]| {
            let script = "grep CapEff /proc/self/status | cut -f2";
            case.docker(["exec"]).args(flags).args(["box", "sh", "-c", script]).text()
        };
        assert_eq!(caps(&[]), "0000000000000000");
        let host = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = host.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
        let all = if case.wall == hako_tests::Wall::Process { bounding } else { "000001ffffffffff" };
        assert_eq!(caps(&["--privileged"]), all);
        assert_eq!(caps(&[]), "0000000000000000");
    }

    fn many_at_once(case) {
        case.idle("box");
        let commands: Vec<_> = (0..8)
            .map(|i| case.docker(["exec", "-i", "box", "sh", "-c", &format!("cat; echo {i}")]).stdin(format!("in {i} ")))
            .collect();
        let threads: Vec<_> = commands.into_iter().map(|c| std::thread::spawn(move || c.text())).collect();
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("in {i} {i}"));
        }
    }

    /// An exec that runs when the container ends does not hold it, and ends.
    fn ends_with_its_container(case) {
        case.idle("box");
        let running = case.docker(["exec", "box", "sh", "-c", "echo begun; sleep 1000"]).start();
        running.expect("begun");
        let _ = case.docker(["kill", "box"]).text();
        case.wait_for("box", "exited");
        let output = running.end();
        assert_eq!(output.code, 137, "{output}");
    }
}
