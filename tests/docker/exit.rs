//! Exit codes: the workload's own, and the engine's 125, 126 and 127.

use hako_tests::both_walls;
use std::thread;

both_walls! {
    /// All 256, by exec in one container.
    fn every_exit_code(case) {
        case.idle("box");
        let codes: Vec<i32> = (0..=255).collect();
        thread::scope(|scope| {
            for part in codes.chunks(64) {
                let commands: Vec<_> = part
                    .iter()
                    .map(|code| (*code, case.docker(["exec", "box", "sh", "-c", &format!("exit {code}")])))
                    .collect();
                scope.spawn(move || {
                    for (code, command) in commands {
                        let output = command.run();
                        assert_eq!(output.code, code, "{output}");
                    }
                });
            }
        });
    }

    /// No signal is ignored or blocked, whatever started the engine and whatever
    /// the engine is written in: a writer whose reader has gone ends.
    fn signals_are_the_defaults(case) {
        let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000";
        let look = ["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"];
        assert_eq!(case.run(&["busybox"]).args(look).text(), none);
        assert_eq!(case.sh(&[], "yes | head -n 1").text(), "y");
        case.idle("box");
        assert_eq!(case.docker(["exec", "box"]).args(look).text(), none);
        assert_eq!(case.exec("box", "yes | head -n 1").out(), "y");
    }

    fn exit_codes_of_run(case) {
        for code in [0, 1, 42, 125, 126, 127, 128, 255] {
            let output = case.sh(&[], &format!("exit {code}")).run();
            assert_eq!(output.code, code, "{output}");
            assert_eq!(output.err(), "");
        }
    }

    fn exit_code_is_kept(case) {
        let output = case.walled("run", &["--name", "box", "busybox", "sh", "-c", "exit 7"]).run();
        assert_eq!(output.code, 7, "{output}");
        assert_eq!(case.inspect("box", "{{.State.ExitCode}} {{.State.Status}} {{.State.OOMKilled}}"), "7 exited false");
        assert_eq!(case.docker(["wait", "box"]).text(), "7");
        let table = case.docker(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).text();
        assert!(table.starts_with("box Exited (7) "), "{table}");
        let _ = case.docker(["rm", "box"]).text();
    }

    fn missing_command_is_127(case) {
        let output = case.run(&["busybox", "no-such-command"]).run();
        output.fails(127, "exec: \"no-such-command\": executable file not found in $PATH");
        case.run(&["busybox", "/no/such/file"]).run().fails(127, "exec: \"/no/such/file\": stat /no/such/file: no such file or directory");
    }

    fn not_executable_is_126(case) {
        case.run(&["busybox", "/etc/passwd"]).run().fails(126, "exec: \"/etc/passwd\": permission denied");
        let output = case.run(&["busybox", "/etc"]).run();
        let older = hako_tests::client_before(23, "it does not know that a directory is not to be run");
        assert_eq!(output.code, if older { 125 } else { 126 }, "{output}");
    }

    fn engine_error_is_125(case) {
        let output = case.run(&["--user", "no-such-user", "busybox", "true"]).run();
        output.fails(125, "unable to find user no-such-user: no matching entries in passwd file");
        let output = case.run(&["--pull=never", "no-such-image", "true"]).run();
        assert_eq!(output.code, 125, "{output}");
        assert!(output.err().to_lowercase().contains("no such image"), "{output}");
    }

    /// Death by signal n is 128+n, for the first process and for exec.
    fn death_by_signal(case) {
        case.idle("box");
        for (name, number) in [("HUP", 1), ("ABRT", 6), ("KILL", 9), ("SEGV", 11), ("TERM", 15)] {
            let output = case.exec("box", &format!("kill -{name} $$"));
            assert_eq!(output.code, 128 + number, "{output}");
        }
        let _ = case.docker(["kill", "box"]).text();
        case.wait_for("box", "exited");
        assert_eq!(case.inspect("box", "{{.State.ExitCode}}"), "137");
    }

    /// `docker kill --signal` reaches the first process, which decides.
    fn kill_sends_the_signal(case) {
        let script = "trap 'echo got hup' HUP; trap 'echo got usr1; exit 3' USR1; echo ready; while :; do sleep 0.1; done";
        case.daemon("box", &["busybox", "sh", "-c", script]);
        let logs = || case.docker(["logs", "box"]).text();
        let minute = std::time::Duration::from_secs(60);
        hako_tests::wait_until(minute, "the container to be ready", || logs().contains("ready"));
        let _ = case.docker(["kill", "--signal=HUP", "box"]).text();
        hako_tests::wait_until(minute, "SIGHUP to arrive", || logs().contains("got hup"));
        let _ = case.docker(["kill", "--signal=SIGUSR1", "box"]).text();
        assert_eq!(case.docker(["wait", "box"]).text(), "3");
        assert_eq!(logs(), "ready\ngot hup\ngot usr1");
    }
}
