//! `docker logs`.

use hako_tests::{Output, both_walls};
use std::{thread, time::Duration};

both_walls! {
    fn both_streams_apart(case) {
        let script = "echo out 1; echo err 1 >&2; echo out 2; printf partial";
        let _ = case.walled("run", &["-d", "--name", "box", "busybox", "sh", "-c", script]).text();
        let _ = case.docker(["wait", "box"]).text();
        let logs = case.docker(["logs", "box"]).run();
        assert_eq!(logs.ok(), "out 1\nout 2\npartial");
        assert_eq!(logs.err(), "err 1");
        // What a client attached to sees is the same as what is logged.
        let attached = case.docker(["start", "-a", "box"]).run();
        assert_eq!((attached.ok(), attached.err()), (logs.out(), logs.err()));
        let twice = case.docker(["logs", "box"]).text();
        assert_eq!(twice, "out 1\nout 2\npartialout 1\nout 2\npartial");
    }

    fn tail(case) {
        let _ = case.walled("run", &["--name", "box", "busybox", "seq", "1", "1000"]).text();
        let tail = |count: &str| case.docker(["logs", "--tail", count, "box"]).text();
        assert_eq!(tail("3"), "998\n999\n1000");
        assert_eq!(tail("0"), "");
        assert_eq!(tail("all").lines().count(), 1000);
        assert_eq!(tail("5000").lines().count(), 1000);
    }

    fn timestamps_since_until(case) {
        let _ = case.walled("run", &["--name", "box", "busybox", "sh", "-c", "echo early; sleep 2; echo late"]).text();
        let stamped = case.docker(["logs", "--timestamps", "box"]).text();
        let stamps: Vec<&str> = stamped.lines().map(|line| line.split_once(' ').unwrap().0).collect();
        assert_eq!(stamped.lines().map(|line| line.split_once(' ').unwrap().1).collect::<Vec<_>>(), ["early", "late"]);
        for stamp in &stamps {
            assert_eq!(stamp.len(), "2026-01-02T03:04:05.678901234Z".len(), "{stamp}");
            assert!(stamp.ends_with('Z') && stamp.as_bytes()[10] == b'T', "{stamp}");
        }
        assert!(stamps[0] < stamps[1]);
        let logs = |flag: &str, at: &str| case.docker(["logs", flag, at, "box"]).text();
        assert_eq!(logs("--since", stamps[1]), "late");
        assert_eq!(logs("--until", stamps[0]), "early");
        assert_eq!(logs("--since", "1h"), "early\nlate");
        assert_eq!(logs("--since", "2099-01-01T00:00:00Z"), "");
    }

    /// `--follow` shows what is there, then what comes, and ends with the container.
    fn follow(case) {
        case.daemon("box", &["-i", "busybox", "sh", "-c", "echo begun; while read x; do echo $x; [ $x = last ] && exit; done"]);
        let follower = case.docker(["logs", "--follow", "box"]).start();
        follower.expect("begun\n");
        let mut typist = case.docker(["attach", "box"]).start();
        thread::sleep(Duration::from_millis(300));
        typist.send("more\n");
        follower.expect("more\n");
        let late = case.docker(["logs", "-f", "--tail", "1", "box"]).start();
        late.expect("more\n");
        typist.send("last\n");
        assert_eq!(typist.end().code, 0);
        let output: Output = follower.end();
        assert_eq!(output.ok(), "begun\nmore\nlast");
        assert_eq!(late.end().ok(), "more\nlast");
    }

    /// Long lines, empty lines and bytes that are no text come back as they were.
    fn odd_bytes(case) {
        let script = "head -c 100000 /dev/zero | tr '\\0' 'x'; echo; echo; printf 'a\\tb\\r\\n\"quoted\"\\\\\\n'; printf '\\303\\274\\n'";
        let output = case.walled("run", &["--name", "box", "busybox", "sh", "-c", script]).run();
        let logs = case.docker(["logs", "box"]).run();
        assert_eq!(logs.stdout, output.stdout);
        assert_eq!(logs.stdout.len(), 100_000 + 1 + 1 + 5 + 10 + 3);
    }

    fn driver_none(case) {
        let output = case.walled("run", &["--name", "box", "--log-driver", "none", "busybox", "echo", "seen"]).run();
        assert_eq!(output.ok(), "seen");
        let refused = case.docker(["logs", "box"]).run();
        assert_ne!(refused.code, 0, "{refused}");
    }
}
