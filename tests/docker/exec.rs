//! `docker exec`.

use hako_tests::both_walls;

both_walls! {
    fn runs_beside_the_first_process(case) {
        case.idle("c");
        let output = case.exec("c", "echo out; echo err >&2; exit 4");
        assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (4, "out", "err"));
        // The same namespaces and root filesystem, also for what is written.
        let _ = case.exec("c", "echo one > /tmp/file").ok();
        assert_eq!(case.exec("c", "cat /tmp/file; hostname").ok(), format!("one\n{}", &case.inspect("c", "{{.Id}}")[..12]));
        assert!(case.exec("c", "ps -o pid,args").ok().contains("1 sh -c trap"));
    }

    fn flags(case) {
        case.daemon("c", &["-e", "OF_RUN=1", "busybox", "sleep", "1000"]);
        let exec = |flags: &[&str], script: &str| {
            case.docker(["exec"]).args(flags).args(["c", "sh", "-c", script]).text()
        };
        assert_eq!(exec(&["-e", "OF_EXEC=2"], "echo $OF_RUN $OF_EXEC"), "1 2");
        assert_eq!(exec(&["-w", "/usr"], "pwd"), "/usr");
        assert_eq!(exec(&["-u", "someone"], "id -un; id -G; echo $HOME"), "someone\n1000 2000\n/home/someone");
        assert_eq!(exec(&["-u", "5:6"], "id -u; id -g"), "5\n6");
    }

    fn stdin(case) {
        case.idle("c");
        let output = case.docker(["exec", "-i", "c", "cat"]).stdin("through exec").text();
        assert_eq!(output, "through exec");
        let output = case.docker(["exec", "c", "wc", "-c"]).stdin("not for you").text();
        assert_eq!(output.trim(), "0");
    }

    fn detached(case) {
        case.idle("c");
        let _ = case.docker(["exec", "-d", "c", "sh", "-c", "sleep 0.2; echo done > /tmp/flag"]).text();
        hako_tests::wait_until(std::time::Duration::from_secs(30), "the detached exec", || {
            case.exec("c", "cat /tmp/flag").out() == "done"
        });
    }

    fn what_cannot_run(case) {
        case.idle("c");
        let exec = |command: &str| case.docker(["exec", "c", command]).run();
        let missing = exec("no-such-command");
        assert_eq!(missing.code, 127, "{missing}");
        let text = format!("{}{}", missing.out(), missing.err());
        assert!(text.contains("exec: \"no-such-command\": executable file not found in $PATH"), "{missing}");
        let denied = exec("/etc/passwd");
        assert_eq!(denied.code, 126, "{denied}");
        case.docker(["exec", "-u", "no-such-user", "c", "true"]).run().fails(126, "");
        case.docker(["exec", "no-such-container", "true"]).run().fails(1, "No such container: no-such-container");
        assert_eq!(case.exec("c", "echo fine").ok(), "fine");
    }

    fn not_in_a_stopped_container(case) {
        let _ = case.walled("run", &["--name", "c", "busybox", "true"]).text();
        let output = case.docker(["exec", "c", "true"]).run();
        assert_eq!(output.code, 1, "{output}");
        assert!(output.err().contains("is not running"), "{output}");
    }

    fn many_at_once(case) {
        case.idle("c");
        let commands: Vec<_> = (0..8)
            .map(|i| case.docker(["exec", "-i", "c", "sh", "-c", &format!("cat; echo {i}")]).stdin(format!("in {i} ")))
            .collect();
        let threads: Vec<_> = commands.into_iter().map(|c| std::thread::spawn(move || c.text())).collect();
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("in {i} {i}"));
        }
    }

    /// An exec that runs when the container ends does not hold it, and ends.
    fn ends_with_its_container(case) {
        case.idle("c");
        let running = case.docker(["exec", "c", "sh", "-c", "echo begun; sleep 1000"]).start();
        running.expect("begun");
        let _ = case.docker(["kill", "c"]).text();
        case.wait_for("c", "exited");
        let output = running.end();
        assert_eq!(output.code, 137, "{output}");
    }
}
